import { useCallback, useEffect, useRef, useState } from "react";
import { stream } from "../../api/events";
import type { Ablation, Agreement, NodeEffect, Question } from "../../api/types";

/** What is measured of one question, in one way. */
export interface Verification {
  /** By id. */
  rows: ReadonlyMap<string, NodeEffect>;
  /** How many of the most promising nodes are measured. */
  top: number;
  /** How far the run that is under way has come; null: none is. */
  run: { done: number; total: number } | null;
  /** Single nodes that are being measured. */
  waiting: ReadonlySet<string>;
  /** Of the last run that came to its end. */
  agreement: Agreement | null;
  seconds: number | null;
  error: Error | null;
}

export interface Wanted {
  top: number | null;
  nodes: readonly string[];
  ablation: Ablation;
  renormalise: boolean;
}

const NOTHING: Verification = {
  rows: new Map(),
  top: 0,
  run: null,
  waiting: new Set(),
  agreement: null,
  seconds: null,
  error: null,
};

/** Rows come many times a second; the table is redrawn, and sorted again, this often at most. */
const REDRAW_MS = 500;

/** What was measured stays for this many questions, so that Back finds it where it was. */
const KEPT = 30;

/**
 * Measures what the address asks for once `shown` is answered, and keeps what it measured.
 *
 * Another question, another way of ablating or leaving the page closes the stream, which ends the work on the
 * server.
 */
export function useVerification(shown: Question | null, wanted: Wanted) {
  const { top, nodes, ablation, renormalise } = wanted;
  const question = shown && withoutIdle(shown, ablation);
  const key = question && JSON.stringify([question, ablation, renormalise]);
  const [all, setAll] = useState<ReadonlyMap<string, Verification>>(new Map());
  const latest = useRef(all);
  const [attempt, setAttempt] = useState(0);
  const update = useCallback((of: string, change: (old: Verification) => Partial<Verification>) => {
    const old = latest.current.get(of) ?? NOTHING;
    const kept = [...latest.current].filter(([other]) => other !== of).slice(1 - KEPT);
    latest.current = new Map([...kept, [of, { ...old, ...change(old) }]]);
    setAll(latest.current);
  }, []);

  const running = useRef<(() => number) | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key stands for the question and the ablation
  useEffect(() => {
    if (!key || !question || top === null) return;
    if ((latest.current.get(key)?.top ?? 0) >= top) return;
    const control = new AbortController();
    const rows = collector((found) => update(key, (old) => ({ rows: new Map([...old.rows, ...found]) })));
    update(key, () => ({ run: { done: 0, total: top }, error: null }));
    stream(
      "/api/verify",
      { ...question, top, nodes: null, ablation, renormalise },
      (event) => {
        if (event.name === "start") update(key, () => ({ run: { done: 0, total: event.data.total } }));
        else if (event.name === "rows") {
          const { done, total } = event.data;
          rows.add(event.data.nodes, () => update(key, () => ({ run: { done, total } })));
        } else {
          rows.flush();
          update(key, () => ({ ...event.data, top, run: null }));
        }
      },
      control.signal,
    ).catch((error: Error) => {
      if (control.signal.aborted) return;
      rows.flush();
      update(key, () => ({ run: null, error }));
    });
    const stop = () => {
      running.current = null;
      control.abort();
      rows.flush();
      const done = latest.current.get(key)?.run?.done ?? 0;
      update(key, () => ({ run: null }));
      return done;
    };
    running.current = stop;
    return () => {
      stop();
    };
  }, [key, top, attempt]);

  const single = useRef({ control: new AbortController(), asked: new Set<string>() });
  // biome-ignore lint/correctness/useExhaustiveDependencies: single nodes belong to one question and ablation
  useEffect(() => {
    const mine = { control: new AbortController(), asked: new Set<string>() };
    single.current = mine;
    return () => {
      mine.control.abort();
      if (key) update(key, () => ({ waiting: new Set() }));
    };
  }, [key, attempt]);
  const list = nodes.join(",");
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key stands for the question and the ablation
  useEffect(() => {
    if (!key || !question) return;
    const { control, asked } = single.current;
    const known = latest.current.get(key)?.rows;
    const missing = nodes.filter((id) => !known?.has(id) && !asked.has(id));
    if (missing.length === 0) return;
    for (const id of missing) asked.add(id);
    update(key, ({ waiting }) => ({ waiting: new Set([...waiting, ...missing]), error: null }));
    const settle = (change: Partial<Verification>) =>
      update(key, ({ waiting }) => ({
        ...change,
        waiting: new Set([...waiting].filter((id) => !missing.includes(id))),
      }));
    stream(
      "/api/verify",
      { ...question, top: null, nodes: missing, ablation, renormalise },
      (event) => {
        if (event.name === "rows") {
          const found = event.data.nodes.map((node) => [node.id, node] as const);
          update(key, ({ rows }) => ({ rows: new Map([...rows, ...found]) }));
        } else if (event.name === "done") settle({});
      },
      control.signal,
    ).catch((error: Error) => {
      if (control.signal.aborted) return;
      settle({ error });
    });
  }, [key, list, attempt]);

  const asked = top !== null || nodes.length > 0;
  return {
    ...((asked && key && all.get(key)) || NOTHING),
    /** Ends the run and says how many nodes it measured: they are the most promising ones, so they are a top too. */
    stop: useCallback(() => {
      const done = running.current?.() ?? 0;
      if (key) update(key, (old) => ({ top: Math.max(old.top, done) }));
      return done;
    }, [key, update]),
    retry: useCallback(() => setAttempt((old) => old + 1), []),
  };
}

/** The question without a second prompt that nothing reads: adding one leaves what is measured as it is. */
function withoutIdle(question: Question, ablation: Ablation): Question {
  const read = ablation === "resample" || question.edits.some((edit) => edit.startsWith("patch:"));
  return read ? question : { ...question, second: null, alignment: null };
}

/** Holds rows back so that they are handed on at most every `REDRAW_MS`; the first ones go at once. */
function collector(give: (rows: [string, NodeEffect][]) => void) {
  let held: [string, NodeEffect][] = [];
  let after: () => void = () => {};
  let last = Number.NEGATIVE_INFINITY;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (held.length === 0) return;
    last = performance.now();
    const rows = held;
    held = [];
    give(rows);
    after();
  };
  return {
    add(nodes: readonly NodeEffect[], then: () => void) {
      for (const node of nodes) held.push([node.id, node]);
      after = then;
      if (timer !== undefined) return;
      const wait = last + REDRAW_MS - performance.now();
      if (wait <= 0) flush();
      else timer = setTimeout(flush, wait);
    },
    flush,
  };
}
