import { expect, test } from "vitest";
import { readClusterView, writeClusterView } from "../../url/clusterView";
import { machine, SILENT, worker } from "./examples";
import { arrangedMachines, arrangedWorkers, machinesCsv, toPython, workersCsv } from "./rows";

const WORKERS = [worker(7, { done: 3 }), SILENT, worker(8, { host: "node-10", task: null })];
const processes = (...view: [string, Parameters<typeof arrangedWorkers>[2]]) =>
  arrangedWorkers(WORKERS, ...view).map(({ process }) => process);

test("workers are as the server has them until they are sorted, and what is not known comes last", () => {
  expect(processes("", null)).toEqual([7, null, 8]);
  expect(processes("", { column: "done", ascending: true })).toEqual([8, 7, null]);
  expect(processes("", { column: "done", ascending: false })).toEqual([7, 8, null]);
  expect(processes("", { column: "task", ascending: true })).toEqual([7, null, 8]);
  expect(processes("", { column: "host", ascending: true })).toEqual([7, 8, null]);
});

test("workers are found by their work, machine and process, and by their silence", () => {
  expect(processes("COLLECT node-10", null)).toEqual([8]);
  expect(processes("explain", null)).toEqual([null]);
  expect(processes("answer", null)).toEqual([null]);
  expect(processes("nobody", null)).toEqual([]);
});

test("machines are sorted by what of them is free", () => {
  const rows = [
    machine("head", { is_head: true, cpus_free: 0 }),
    machine("b", { cpus_free: 8 }),
    machine("a"),
  ];
  const hosts = (sort: Parameters<typeof arrangedMachines>[1]) =>
    arrangedMachines(rows, sort).map(({ host }) => host);
  expect(hosts(null)).toEqual(["head", "b", "a"]);
  expect(hosts({ column: "cpus_free", ascending: false })).toEqual(["b", "a", "head"]);
  expect(hosts({ column: "host", ascending: true })).toEqual(["a", "b", "head"]);
});

test("both as CSV have a row for each", () => {
  expect(workersCsv(WORKERS).trim().split("\r\n")).toEqual([
    "work,host,process,task,since,done,memory",
    "collect smollm2,node-2,7,0,2.5,3,1000000000",
    "explain smollm2,,,,,,",
    "collect smollm2,node-10,8,,2.5,1,1000000000",
  ]);
  expect(
    machinesCsv([machine("a", { is_head: true })])
      .trim()
      .split("\r\n"),
  ).toEqual(["host,is_head,cpus,cpus_free,gpus,gpus_free,memory", "a,true,8,2,0,0,32000000000"]);
});

test("the same in Python names the cluster by its head", () => {
  expect(toPython("10.0.0.1:6379")).toBe(
    'from clew.cluster.status import status\n\nprint(status("10.0.0.1:6379"))\n',
  );
});

test("an address spells how the cluster is looked at, and what it cannot mean is ignored", () => {
  const view = {
    find: "node 2",
    workers: { column: "memory", ascending: true },
    machines: { column: "gpus_free", ascending: false },
  } as const;
  expect(readClusterView(writeClusterView(view))).toEqual(view);
  expect(writeClusterView(readClusterView(""))).toBe("");
  expect(readClusterView("?workers=cpus_free&machines=nothing.asc")).toEqual({
    find: "",
    workers: null,
    machines: null,
  });
});
