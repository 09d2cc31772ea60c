import type { ClusterMachine, ClusterWorker } from "../../api/types";

// Rows for the tests.

export const worker = (process: number, part: Partial<ClusterWorker> = {}): ClusterWorker => ({
  work: "collect smollm2",
  host: "node-2",
  process,
  task: 0,
  done: 1,
  since: 2.5,
  memory: 1e9,
  ...part,
});
export const SILENT: ClusterWorker = {
  work: "explain smollm2",
  host: null,
  process: null,
  task: null,
  done: null,
  since: null,
  memory: null,
};
export const machine = (host: string, part: Partial<ClusterMachine> = {}): ClusterMachine => ({
  host,
  is_head: false,
  cpus: 8,
  cpus_free: 2,
  gpus: 0,
  gpus_free: 0,
  memory: 32e9,
  ...part,
});
