import type { ClusterMachine, ClusterStatus } from "../../api/types";
import { CopyButton } from "../../components/Button";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { SortHeader } from "../../components/SortHeader";
import { bytes, count } from "../../format/number";
import type { Change } from "../../url/address";
import type { ClusterView, MachineColumn } from "../../url/clusterView";
import { arrangedMachines, machinesCsv, toPython } from "./rows";

const COLUMNS: readonly { key: MachineColumn; label: string; title: string }[] = [
  { key: "host", label: "Machine", title: "Its name in the cluster" },
  { key: "cpus_free", label: "CPUs free", title: "Those that nobody has taken, of all it has" },
  { key: "gpus_free", label: "GPUs free", title: "Those that nobody has taken, of all it has" },
  { key: "memory", label: "Memory", title: "What it has for workers" },
];

/** What the cluster has, and what of that nobody uses. */
export function MachineTable({
  cluster,
  ray,
  view,
  onChange,
}: {
  cluster: ClusterStatus;
  /** The address that the server was started with. */
  ray: string;
  view: ClusterView;
  onChange: Change<ClusterView>;
}) {
  const rows = arrangedMachines(cluster.machines, view.machines);
  return (
    <Panel
      title="Machines"
      actions={
        <>
          <span className="num text-2xs text-ink-3">{count(rows.length)}</span>
          <span className="text-2xs text-ink-3" title={`The server was started with --ray ${ray}`}>
            head at <span className="font-mono">{cluster.address}</span>
          </span>
          <div className="ml-auto flex flex-wrap items-center gap-1.5">
            <CopyButton text={() => toPython(cluster.address)}>Copy as Python</CopyButton>
            <SaveButton file="clew-machines.csv" text={() => machinesCsv(rows)} />
            <SaveButton file="clew-machines.json" text={() => JSON.stringify(rows, null, 2)} />
          </div>
        </>
      }
    >
      <div className="relative overflow-x-auto border-t border-line">
        <table className="w-full border-collapse text-xs" aria-label="Machines of the cluster">
          <thead>
            <tr className="border-b border-line text-ink-2">
              {COLUMNS.map(({ key, label, title }) => (
                <SortHeader
                  key={key}
                  label={label}
                  title={title}
                  text={key === "host"}
                  first={key === "host"}
                  on={view.machines?.column === key}
                  ascending={view.machines?.ascending ?? false}
                  onSort={(ascending) => onChange({ machines: { column: key, ascending } }, "replace")}
                />
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((machine, i) => (
              <tr
                // biome-ignore lint/suspicious/noArrayIndexKey: two machines may have one name
                key={`${machine.host} ${i}`}
                data-machine={machine.host}
                className="h-7.5 border-b border-line last:border-b-0"
              >
                <td className="sticky left-0 z-[1] max-w-96 truncate bg-panel px-3 max-sm:max-w-36">
                  <span className="font-mono" title={machine.host}>
                    {machine.host}
                  </span>
                  {machine.is_head && (
                    <span
                      className="ml-1.5 text-2xs text-ink-3"
                      title="The node that keeps the cluster together"
                    >
                      head
                    </span>
                  )}
                </td>
                <Free what="CPUs" free={machine.cpus_free} of={machine.cpus} />
                <Free what="GPUs" free={machine.gpus_free} of={machine.gpus} />
                <td className="num px-2 text-right whitespace-nowrap">{bytes(machine.memory)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

/** How many are free of how many, with a bar of those that are taken. */
function Free({
  what,
  free,
  of,
}: {
  what: string;
  free: ClusterMachine["cpus"];
  of: ClusterMachine["cpus"];
}) {
  if (of === 0) return <td className="px-2 text-right text-ink-3">none</td>;
  const taken = Math.max(0, of - free);
  return (
    <td className="px-2 whitespace-nowrap" title={`${taken} of ${of} ${what} are taken`}>
      <span className="flex items-center justify-end gap-2">
        <span className="h-1.5 w-16 overflow-hidden rounded-full bg-raised max-sm:hidden" aria-hidden="true">
          <span className="block h-full bg-active" style={{ width: `${(100 * taken) / of}%` }} />
        </span>
        <span className="num">
          {free} of {of}
        </span>
      </span>
    </td>
  );
}
