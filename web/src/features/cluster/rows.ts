import type { ClusterMachine, ClusterWorker } from "../../api/types";
import { csvText } from "../../format/csv";
import { pythonText } from "../../format/python";
import type { MachineColumn, Sort, WorkerColumn } from "../../url/clusterView";

/** Whether it said what it is at. */
export function answers({ host }: ClusterWorker): boolean {
  return host !== null;
}

/** Workers that hold every word that is looked for, in the order that is asked for. */
export function arrangedWorkers(
  rows: readonly ClusterWorker[],
  find: string,
  sort: Sort<WorkerColumn>,
): ClusterWorker[] {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter(({ work, host, process }) => {
    const text = `${work} ${host ?? "starts, or does not answer"} ${process ?? ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  return ordered(found, sort);
}

export function arrangedMachines(
  rows: readonly ClusterMachine[],
  sort: Sort<MachineColumn>,
): ClusterMachine[] {
  return ordered(rows, sort);
}

/** Rows by one of their fields; what is not known comes last, whichever way. */
function ordered<Column extends string, Row extends Record<Column, string | number | null>>(
  rows: readonly Row[],
  sort: Sort<Column>,
): Row[] {
  if (sort === null) return [...rows];
  const way = sort.ascending ? 1 : -1;
  return [...rows].sort((one, other) => {
    const [a, b]: (string | number | null)[] = [one[sort.column], other[sort.column]];
    if (a === null || b === null || a === undefined || b === undefined)
      return Number(a === null) - Number(b === null);
    return (
      way * (typeof a === "string" ? a.localeCompare(String(b), undefined, { numeric: true }) : a - Number(b))
    );
  });
}

const WORKER_FIELDS = [
  "work",
  "host",
  "process",
  "task",
  "since",
  "done",
  "memory",
] as const satisfies readonly (keyof ClusterWorker)[];

export function workersCsv(rows: readonly ClusterWorker[]): string {
  return csvText(
    WORKER_FIELDS,
    rows.map((row) => WORKER_FIELDS.map((name) => row[name])),
  );
}

const MACHINE_FIELDS = [
  "host",
  "is_head",
  "cpus",
  "cpus_free",
  "gpus",
  "gpus_free",
  "memory",
] as const satisfies readonly (keyof ClusterMachine)[];

export function machinesCsv(rows: readonly ClusterMachine[]): string {
  return csvText(
    MACHINE_FIELDS,
    rows.map((row) => MACHINE_FIELDS.map((name) => (name === "is_head" ? String(row[name]) : row[name]))),
  );
}

/** A Python program that sees the same. */
export function toPython(address: string): string {
  return `from clew.cluster.status import status\n\nprint(status(${pythonText(address)}))\n`;
}
