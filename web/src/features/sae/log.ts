import type { TrainPoint } from "../../api/types";

/** A training's log as it is drawn: the rows of each autoencoder by step. */
export type Log = ReadonlyMap<string, readonly TrainPoint[]>;

export const NO_LOG: Log = new Map();

/**
 * The log with more rows.
 *
 * Rows come by step; those that are there already, of a training that went on from its checkpoint, give way.
 */
export function added(log: Log, rows: readonly TrainPoint[]): Log {
  if (rows.length === 0) return log;
  const byRun = new Map<string, TrainPoint[]>();
  for (const row of rows) {
    const group = byRun.get(row.run);
    if (group) group.push(row);
    else byRun.set(row.run, [row]);
  }
  const all = new Map(log);
  for (const [run, more] of byRun) {
    const before = log.get(run) ?? [];
    const first = more[0]?.step ?? 0;
    const kept = (before.at(-1)?.step ?? -1) < first ? before : before.filter(({ step }) => step < first);
    all.set(run, [...kept, ...more]);
  }
  return all;
}

/** The last step that all its autoencoders have rows of; null when there is none. */
export function lastStep(log: Log): number | null {
  const steps = [...log.values()].map((rows) => rows.at(-1)?.step ?? 0);
  return steps.length ? Math.min(...steps) : null;
}
