import { useCallback, useEffect, useState } from "react";
import { stream } from "../../api/events";
import type { Question } from "../../api/types";
import type { Sampling } from "../../url/view";
import type { Generated } from "./continuation";

export interface Continuation {
  state: "running" | "stopped" | "done" | "failed";
  tokens: readonly Generated[];
  error: Error | null;
}

const NEW: Continuation = { state: "running", tokens: [], error: null };

/**
 * The text that the model goes on with, token by token; `question` null asks nothing. Another question or other
 * sampling begins anew and gives up what was on its way.
 */
export function useContinuation(question: Question | null, sampling: Sampling) {
  const [text, setText] = useState<Continuation>(NEW);
  const [running, setRunning] = useState<AbortController | null>(null);
  const [again, setAgain] = useState(0);
  const key = question && JSON.stringify([question, sampling]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `again` asks the same once more
  useEffect(() => {
    if (key === null) return;
    const [asked, how] = JSON.parse(key) as [Question, Sampling];
    const abort = new AbortController();
    const set = (change: (old: Continuation) => Continuation) => {
      if (!abort.signal.aborted) setText(change);
    };
    setText(NEW);
    setRunning(abort);
    stream(
      "/api/generate",
      { ...asked, ...how },
      (event) => {
        if (event.name === "token") set((old) => ({ ...old, tokens: [...old.tokens, event.data] }));
        else set((old) => ({ ...old, state: "done" }));
      },
      abort.signal,
    ).catch((error: Error) => set((old) => ({ ...old, state: "failed", error })));
    return () => abort.abort();
  }, [key, again]);

  const stop = useCallback(() => {
    running?.abort();
    setText((old) => (old.state === "running" ? { ...old, state: "stopped" } : old));
  }, [running]);
  const restart = useCallback(() => setAgain((old) => old + 1), []);
  return { text, stop, restart };
}
