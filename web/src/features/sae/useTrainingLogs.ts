import { useCallback, useEffect, useMemo, useState } from "react";
import { api, Failure } from "../../api/client";
import { watchTraining } from "../../api/events";
import type { Training } from "../../api/types";
import { added, type Log, lastStep, NO_LOG } from "./log";

/** A training as far as it is known here. */
export interface Followed {
  training: Training | null;
  log: Log;
  /** Why there is nothing, or nothing new; null while all is well. */
  error: Error | null;
  /** Whether the connection broke and is tried again. */
  reconnecting: boolean;
}

const UNKNOWN: Followed = { training: null, log: NO_LOG, error: null, reconnecting: false };
/** Milliseconds before the first try to connect again, and the longest between two. */
const FIRST = 500;
const LONGEST = 8000;

/**
 * Trainings by name, each with its log, kept up to date while they run: also one that was started elsewhere.
 *
 * A connection that breaks is made again, from after the last row that came. `reread` begins a training anew, after it was
 * told to go on.
 */
export function useTrainingLogs(names: readonly string[]): {
  followed: ReadonlyMap<string, Followed>;
  reread: (name: string) => void;
} {
  const [followed, setFollowed] = useState<ReadonlyMap<string, Followed>>(new Map());
  const [times, setTimes] = useState<Readonly<Record<string, number>>>({});
  // As one text, so that another list of the same names asks nothing anew.
  const asked = names.map((name) => `${name} ${times[name] ?? 0}`).join("\n");
  useEffect(() => {
    const own = new AbortController();
    for (const line of asked.split("\n").filter(Boolean)) {
      const name = line.slice(0, line.lastIndexOf(" "));
      follow(
        name,
        (part) => {
          if (own.signal.aborted) return;
          setFollowed((all) => new Map(all).set(name, { ...(all.get(name) ?? UNKNOWN), ...part }));
        },
        own.signal,
      );
    }
    return () => own.abort();
  }, [asked]);
  const reread = useCallback(
    (name: string) => setTimes((all) => ({ ...all, [name]: (all[name] ?? 0) + 1 })),
    [],
  );
  return useMemo(() => ({ followed, reread }), [followed, reread]);
}

type Change = (part: Partial<Followed>) => void;

async function follow(name: string, change: Change, signal: AbortSignal): Promise<void> {
  let wait = FIRST;
  let log: Log | null = null;
  while (!signal.aborted) {
    try {
      if (log === null) {
        const [training, { rows }] = await Promise.all([
          api.training(name, signal),
          api.trainingLog(name, signal),
        ]);
        const whole = added(NO_LOG, rows);
        log = whole;
        change({ training, log: whole, error: null, reconnecting: false });
        if (training.stage !== "running") return;
      }
      await watchTraining(
        name,
        lastStep(log),
        (event) => {
          wait = FIRST;
          if (event.name === "state")
            return change({ training: event.data, error: null, reconnecting: false });
          const more = added(log ?? NO_LOG, event.data.rows);
          log = more;
          change({ log: more, error: null, reconnecting: false });
        },
        signal,
      );
      return;
    } catch (cause) {
      if (signal.aborted) return;
      const again = cause instanceof Failure && cause.code === "unreachable";
      change({ error: cause as Error, reconnecting: again });
      if (!again) return;
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(LONGEST, 2 * wait);
    }
  }
}
