import { useCallback, useEffect, useRef, useState } from "react";
import { stream } from "../../api/events";
import type { components } from "../../api/schema";
import type { Question } from "../../api/types";
import { emptySwathe, type Swathe, withCells } from "./sweep";

/** Milliseconds between two paintings: cells come by the thousand. */
const PAINT = 120;

export interface Sweep {
  state: "running" | "stopped" | "done" | "failed";
  /** What was asked. */
  question: Question;
  start: components["schemas"]["SweepStart"] | null;
  swathe: Swathe;
  done: number;
  /** How long the server took; null until it is done. */
  seconds: number | null;
  error: Error | null;
}

/** One patch sweep at a time: `begin` drops the one before it, `stop` keeps what has come. */
export function useSweep(nLayers: number) {
  const [sweep, setSweep] = useState<Sweep | null>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);

  const drop = useCallback(() => {
    running.current?.abort();
    running.current = null;
    setSweep(null);
  }, []);
  const stop = useCallback(() => {
    running.current?.abort();
    setSweep((old) => (old?.state === "running" ? { ...old, state: "stopped" } : old));
  }, []);
  const begin = useCallback(
    async (question: Question) => {
      running.current?.abort();
      const abort = new AbortController();
      running.current = abort;
      let now: Sweep = {
        state: "running",
        question,
        start: null,
        swathe: emptySwathe(nLayers),
        done: 0,
        seconds: null,
        error: null,
      };
      let timer: ReturnType<typeof setTimeout> | undefined;
      const paint = () => {
        timer = undefined;
        if (!abort.signal.aborted) setSweep(now);
      };
      setSweep(now);
      try {
        await stream(
          "/api/sweep",
          { ...question, kinds: ["resid", "mlp", "attn"] },
          (event) => {
            if (event.name === "start") now = { ...now, start: event.data };
            else if (event.name === "cells") {
              now = { ...now, swathe: withCells(now.swathe, event.data.cells), done: event.data.done };
            } else now = { ...now, state: "done", seconds: event.data.seconds };
            timer ??= setTimeout(paint, PAINT);
          },
          abort.signal,
        );
      } catch (error) {
        now = { ...now, state: "failed", error: error as Error };
      }
      clearTimeout(timer);
      paint();
    },
    [nLayers],
  );
  return { sweep, begin, stop, drop };
}
