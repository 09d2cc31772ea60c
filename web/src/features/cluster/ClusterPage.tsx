import { useCluster } from "../../api/cluster";
import { useStatus } from "../../api/queries";
import { Absent } from "../../components/Absent";
import { Command } from "../../components/Command";
import { Notice } from "../../components/Notice";
import { useTitle } from "../../components/useTitle";
import { useQueryString } from "../../url/address";
import { readClusterView, writeClusterView } from "../../url/clusterView";
import { MachineTable } from "./MachineTable";
import { WorkerTable } from "./WorkerTable";

/** The machines that work runs on, and what each worker is at, as long as one looks. */
export function ClusterPage() {
  const [view, change] = useQueryString(readClusterView, writeClusterView);
  const { data, error, refetch } = useCluster();
  const model = useStatus().data?.model.name ?? "smollm2";
  useTitle("Cluster");
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3" data-testid="cluster">
      {error ? (
        <Notice error={error} onRetry={() => refetch()} />
      ) : data === undefined ? (
        <div role="status" className="skeleton h-64">
          <span className="sr-only">Asking the cluster</span>
        </div>
      ) : data.ray === null ? (
        <Alone model={model} />
      ) : data.cluster === null ? (
        <NotStarted ray={data.ray} />
      ) : (
        <>
          <MachineTable cluster={data.cluster} ray={data.ray} view={view} onChange={change} />
          <WorkerTable cluster={data.cluster} view={view} onChange={change} />
        </>
      )}
    </main>
  );
}

/** What stands where a cluster would: what one does, and how the server gets one. */
function Alone({ model }: { model: string }) {
  const named = model === "smollm2" ? "" : ` --model ${model}`;
  return (
    <Absent
      label="No cluster"
      data-testid="no-cluster"
      title="This server works on this machine alone"
      about="Started with --ray, it spreads collecting, explaining and training over the machines of a Ray cluster; what comes of it is the same, of a training within rounding. This page then shows its machines and what each worker is at."
    >
      <Command lead="On the cluster that this machine is part of:" text={`clew serve${named} --ray auto`} />
      <Command lead="On another:" text={`clew serve${named} --ray HOST:PORT`} />
    </Absent>
  );
}

/** A cluster of this machine alone lasts as long as its work. */
function NotStarted({ ray }: { ray: string }) {
  return (
    <Absent
      label="No workers"
      data-testid="not-started"
      title="No worker is at work"
      about={
        <>
          {ray === "auto" && "This machine is part of no cluster. "}
          Collect an atlas or explain components: a cluster of this machine alone is started with the work and
          ends with it, and its workers show up here.
        </>
      }
    >
      {ray === "auto" && (
        <Command lead="To have one that stays, and that other machines can join:" text="ray start --head" />
      )}
    </Absent>
  );
}
