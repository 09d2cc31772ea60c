import { oneOf, query } from "./params";

export const WORKER_COLUMNS = ["work", "host", "process", "task", "since", "done", "memory"] as const;
export type WorkerColumn = (typeof WORKER_COLUMNS)[number];
export const MACHINE_COLUMNS = ["host", "cpus_free", "gpus_free", "memory"] as const;
export type MachineColumn = (typeof MACHINE_COLUMNS)[number];

/** What a table is sorted by; null: in the order of the server. */
export type Sort<Column> = { column: Column; ascending: boolean } | null;

/** Everything the page of the cluster shows, as the address bar spells it. */
export interface ClusterView {
  /** Words that a worker's row must hold. */
  find: string;
  workers: Sort<WorkerColumn>;
  machines: Sort<MachineColumn>;
}

/** The view a query string spells. What it cannot mean is ignored. */
export function readClusterView(search: string): ClusterView {
  const params = new URLSearchParams(search);
  return {
    find: params.get("find") ?? "",
    workers: readSort(WORKER_COLUMNS, params.get("workers")),
    machines: readSort(MACHINE_COLUMNS, params.get("machines")),
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeClusterView({ find, workers, machines }: ClusterView): string {
  const params = new URLSearchParams();
  if (find) params.set("find", find);
  if (workers) params.set("workers", written(workers));
  if (machines) params.set("machines", written(machines));
  return query(params);
}

function readSort<Column extends string>(columns: readonly Column[], text: string | null): Sort<Column> {
  const [name, order] = (text ?? "").split(".");
  const column = oneOf(columns, name);
  return column === undefined ? null : { column, ascending: order === "asc" };
}

function written({ column, ascending }: { column: string; ascending: boolean }): string {
  return ascending ? `${column}.asc` : column;
}
