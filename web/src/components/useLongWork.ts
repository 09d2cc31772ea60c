import { useCallback, useEffect, useRef, useState } from "react";

export interface LongWork<Progress> {
  running: boolean;
  /** null: nothing was said yet. */
  progress: Progress | null;
  /** What happened to workers that it is spread over, from its beginning on. */
  notes: readonly string[];
  error: Error | null;
  /** Gives up what is under way, and starts `work`, which says how far it is and ends when the signal does. */
  begin: (work: (tell: (progress: Progress) => void, signal: AbortSignal) => Promise<unknown>) => void;
  cancel: () => void;
}

/** Work of the server that lasts as long as its connection, one piece at a time; leaving the page ends it. */
export function useLongWork<Progress extends object>(): LongWork<Progress> {
  const [running, setRunning] = useState(false);
  const [progress, setProgress] = useState<Progress | null>(null);
  const [notes, setNotes] = useState<readonly string[]>([]);
  const [error, setError] = useState<Error | null>(null);
  const connection = useRef<AbortController>(undefined);
  useEffect(() => () => connection.current?.abort(), []);
  const begin = useCallback<LongWork<Progress>["begin"]>((work) => {
    connection.current?.abort();
    const own = new AbortController();
    connection.current = own;
    setRunning(true);
    setProgress(null);
    setNotes([]);
    setError(null);
    const tell = (latest: Progress) => {
      setProgress(latest);
      const note = "note" in latest ? latest.note : null;
      if (typeof note === "string") setNotes((before) => [...before, note]);
    };
    work(tell, own.signal)
      .catch((reason: Error) => {
        if (!own.signal.aborted) setError(reason);
      })
      .finally(() => {
        if (connection.current === own) setRunning(false);
      });
  }, []);
  const cancel = useCallback(() => connection.current?.abort(), []);
  return { running, progress, notes, error, begin, cancel };
}
