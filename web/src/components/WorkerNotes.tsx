import { useEffect, useRef } from "react";
import { CLUSTER } from "../url/route";
import { Link } from "./Link";

/** What happened to workers of a cluster in the course of some work, the newest last; nothing where nothing did. */
export function WorkerNotes({ notes }: { notes: readonly string[] }) {
  const list = useRef<HTMLOListElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: each new one is scrolled to
  useEffect(() => {
    if (list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [notes.length]);
  if (notes.length === 0) return null;
  return (
    <div className="text-2xs text-ink-2" data-testid="worker-notes">
      <p className="flex justify-between gap-3 text-ink-3">
        What happened to workers
        <Link
          href={CLUSTER}
          className="underline decoration-line-strong underline-offset-2 hover:text-ink"
          title="The machines, and what each worker is at"
        >
          Cluster
        </Link>
      </p>
      <ol
        ref={list}
        role="log"
        aria-label="What happened to workers"
        className="mt-0.5 max-h-24 overflow-y-auto"
      >
        {notes.map((note, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a note is its place
          <li key={i} className="break-words">
            {note}
          </li>
        ))}
      </ol>
    </div>
  );
}
