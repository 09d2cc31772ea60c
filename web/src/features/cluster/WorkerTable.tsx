import { useMemo, useRef } from "react";
import type { ClusterStatus, ClusterWorker } from "../../api/types";
import { FilterField } from "../../components/FilterField";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { SortHeader } from "../../components/SortHeader";
import { useActiveRow } from "../../components/useActiveRow";
import { useKeys } from "../../components/useKeys";
import { bytes, count, timeLeft } from "../../format/number";
import type { Change } from "../../url/address";
import type { ClusterView, WorkerColumn } from "../../url/clusterView";
import { answers, arrangedWorkers, workersCsv } from "./rows";

interface Column {
  key: WorkerColumn;
  label: string;
  title: string;
  text: boolean;
  show: (worker: ClusterWorker) => string;
}

const known = (value: number | null, show: (value: number) => string) => (value === null ? "–" : show(value));
const WORK: Omit<Column, "show"> = {
  key: "work",
  label: "Work",
  title: "What it is part of",
  text: true,
};
const COLUMNS: readonly Column[] = [
  {
    key: "host",
    label: "Machine",
    title: "Where it runs",
    text: true,
    show: ({ host }) => host ?? "–",
  },
  {
    key: "process",
    label: "Process",
    title: "Its number on that machine",
    text: false,
    show: ({ process }) => known(process, String),
  },
  {
    key: "task",
    label: "Task",
    title: "The piece of work it does, by number from 0",
    text: false,
    show: ({ task }) => known(task, count),
  },
  {
    key: "since",
    label: "Since",
    title: "How long it has been at its task, or has waited for one",
    text: false,
    show: ({ since }) => known(since, timeLeft),
  },
  {
    key: "done",
    label: "Done",
    title: "Tasks it has done before",
    text: false,
    show: ({ done }) => known(done, count),
  },
  {
    key: "memory",
    label: "Memory",
    title: "What its process holds",
    text: false,
    show: ({ memory }) => known(memory, bytes),
  },
];

/** What each of Clew's workers is at, whoever gave it its work. */
export function WorkerTable({
  cluster,
  view,
  onChange,
}: {
  cluster: ClusterStatus;
  view: ClusterView;
  onChange: Change<ClusterView>;
}) {
  const finder = useRef<HTMLInputElement>(null);
  const rows = arrangedWorkers(cluster.workers, view.find, view.workers);
  const all = cluster.workers.length;
  const { active, setActive, move, body } = useActiveRow(rows.length);
  useKeys({ j: () => move(1), k: () => move(-1), "/": () => finder.current?.focus() });
  const silent = useMemo(() => cluster.workers.filter((worker) => !answers(worker)).length, [cluster]);
  return (
    <Panel
      title="Workers"
      actions={
        <>
          <span className="num text-2xs text-ink-3" role="status">
            {rows.length === all ? count(all) : `${count(rows.length)} of ${count(all)}`}
            {silent > 0 && `, ${count(silent)} silent`}
          </span>
          <div className="ml-auto flex flex-wrap items-center gap-1.5">
            <FilterField
              label="Filter workers"
              value={view.find}
              onChange={(find) => onChange({ find }, "replace")}
              finder={finder}
            />
            <SaveButton
              file="clew-workers.csv"
              disabled={rows.length === 0}
              title={rows.length === 0 ? "There is nothing to export" : undefined}
              text={() => workersCsv(rows)}
            />
            <SaveButton
              file="clew-workers.json"
              disabled={rows.length === 0}
              title={rows.length === 0 ? "There is nothing to export" : undefined}
              text={() => JSON.stringify(rows, null, 2)}
            />
          </div>
        </>
      }
    >
      {all === 0 ? (
        <p className="border-t border-line px-3 py-8 text-center text-xs text-ink-2">
          No worker is at work. Collect an atlas or explain components, here or in a terminal with --ray, and
          they show up here.
        </p>
      ) : rows.length === 0 ? (
        <p className="border-t border-line px-3 py-8 text-center text-xs text-ink-2">
          None matches “{view.find}”.{" "}
          <button type="button" className="underline" onClick={() => onChange({ find: "" }, "replace")}>
            Show all
          </button>
        </p>
      ) : (
        <div className="relative overflow-x-auto border-t border-line">
          <table className="w-full border-collapse text-xs" aria-label="Workers on the cluster">
            <thead>
              <tr className="border-b border-line text-ink-2">
                {[WORK, ...COLUMNS].map(({ key, label, title, text }) => (
                  <SortHeader
                    key={key}
                    label={label}
                    title={title}
                    text={text}
                    first={key === "work"}
                    on={view.workers?.column === key}
                    ascending={view.workers?.ascending ?? false}
                    onSort={(ascending) => onChange({ workers: { column: key, ascending } }, "replace")}
                  />
                ))}
              </tr>
            </thead>
            <tbody ref={body}>
              {rows.map((worker, i) => (
                <tr
                  // biome-ignore lint/suspicious/noArrayIndexKey: those that do not answer have nothing of their own
                  key={`${worker.host} ${worker.process} ${i}`}
                  data-worker={worker.process ?? "silent"}
                  aria-selected={i === active}
                  onClick={() => setActive(i)}
                  className={`h-7.5 border-b border-line last:border-b-0 hover:bg-raised ${
                    i === active ? "bg-raised shadow-[inset_2px_0_0_var(--focus)]" : "bg-panel"
                  }`}
                >
                  <td className="sticky left-0 z-[1] max-w-96 truncate bg-inherit px-3 max-sm:max-w-36">
                    <span className="inline-flex items-center gap-1.5" title={worker.work}>
                      <Dot worker={worker} />
                      {worker.work}
                    </span>
                  </td>
                  {answers(worker) ? (
                    COLUMNS.map(({ key, text, show }) => (
                      <td
                        key={key}
                        data-column={key}
                        className={`px-2 whitespace-nowrap ${text ? "font-mono" : "num text-right"}`}
                      >
                        {key === "task" && worker.task === null ? (
                          <span className="text-ink-3">waits</span>
                        ) : (
                          show(worker)
                        )}
                      </td>
                    ))
                  ) : (
                    <td colSpan={COLUMNS.length} className="px-2 text-ink-2">
                      starts, or does not answer
                    </td>
                  )}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

/** Whether it works, waits or is silent, at a glance; the row says it in words. */
function Dot({ worker }: { worker: ClusterWorker }) {
  const look = !answers(worker) ? "border border-ink-3" : worker.task === null ? "bg-ink-3" : "bg-active";
  return <span className={`size-2 shrink-0 rounded-full ${look}`} aria-hidden="true" />;
}
