import { Failure } from "../../api/client";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { WorkerNotes } from "../../components/WorkerNotes";
import { useCollecting } from "./Collecting";

/** What the server answers when something else was collected, or half collected, into the same place. */
const LEFT = ["atlas_exists", "unfinished_atlas"];

/** Why the last collection ended, and the way past what another one left. */
export function CollectionFailure({ disabled, onReplace }: { disabled: boolean; onReplace: () => void }) {
  const { error, notes } = useCollecting();
  if (!error) return null;
  return (
    <>
      <Notice error={error} />
      <WorkerNotes notes={notes} />
      {error instanceof Failure && LEFT.includes(error.code) && (
        <Button className="self-start" disabled={disabled} onClick={onReplace}>
          Throw it away and collect anew
        </Button>
      )}
    </>
  );
}
