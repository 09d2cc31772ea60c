import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";
import { WorkerNotes } from "../../components/WorkerNotes";
import { readClusterView } from "../../url/clusterView";
import { machine, SILENT, worker } from "./examples";
import { MachineTable } from "./MachineTable";
import { WorkerTable } from "./WorkerTable";

const cluster = (workers = [worker(7), worker(8, { task: null }), SILENT]) => ({
  address: "10.0.0.1:6379",
  machines: [machine("head", { is_head: true, cpus_free: 2 }), machine("other", { gpus: 4, gpus_free: 1 })],
  workers,
});
const workers = (rows = cluster().workers, search = "") =>
  renderToStaticMarkup(
    <WorkerTable cluster={cluster(rows)} view={readClusterView(search)} onChange={() => {}} />,
  );
/** The text of each row of a table's body, cell by cell. */
const rows = (html: string) =>
  (/<tbody>(.*)<\/tbody>/.exec(html)?.[1] ?? "")
    .split("</tr>")
    .slice(0, -1)
    .map((row) =>
      row
        .split("</td>")
        .slice(0, -1)
        .map((cell) => cell.replace(/<[^>]*>/g, "")),
    );

test("every worker says its task, that it waits, or nothing", () => {
  expect(rows(workers())).toEqual([
    ["collect smollm2", "node-2", "7", "0", "3 s", "1", "1 GB"],
    ["collect smollm2", "node-2", "8", "waits", "3 s", "1", "1 GB"],
    ["explain smollm2", "starts, or does not answer"],
  ]);
  expect(workers()).toContain("1 silent");
});

test("where there is no worker, or none that matches, the table says so", () => {
  expect(workers([])).toContain("No worker is at work.");
  expect(workers(undefined, "?find=nobody")).toContain("None matches “nobody”.");
  expect(workers(undefined, "?find=explain")).toContain("1 of 3");
});

test("every machine says what of it is free", () => {
  const html = renderToStaticMarkup(
    <MachineTable cluster={cluster()} ray="auto" view={readClusterView("")} onChange={() => {}} />,
  );
  expect(rows(html)).toEqual([
    ["headhead", "2 of 8", "none", "32 GB"],
    ["other", "2 of 8", "1 of 4", "32 GB"],
  ]);
  expect(html).toContain("6 of 8 CPUs are taken");
});

test("all notes of some work are kept, the newest last, and nothing is said where nothing happened", () => {
  const html = renderToStaticMarkup(<WorkerNotes notes={["first", "second"]} />);
  expect(html.indexOf("first")).toBeLessThan(html.indexOf("second"));
  expect(html).toContain('href="/cluster"');
  expect(renderToStaticMarkup(<WorkerNotes notes={[]} />)).toBe("");
});
