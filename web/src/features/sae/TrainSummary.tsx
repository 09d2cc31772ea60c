import type { ReactNode } from "react";
import { Failure } from "../../api/client";
import type { Model } from "../../api/types";
import { Button, CopyButton } from "../../components/Button";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { bytes, count, short } from "../../format/number";
import { trainingAddress } from "../../url/route";
import type { TrainForm } from "../../url/trainForm";
import { costOf } from "./cost";
import { DEFAULTS, type Plan, recipeName } from "./plan";
import { trainCommand, trainPython } from "./trainExports";

/** What comes of the form: the autoencoders by name, what they will cost, and the way to begin. */
export function TrainSummary({
  plan,
  form,
  model,
  why,
  busy,
  starting,
  error,
  onStart,
  children,
}: {
  plan: Plan;
  form: TrainForm;
  model: Model;
  /** Why it cannot begin; null when it can. */
  why: string | null;
  busy: string | null;
  starting: boolean;
  error: Error | null;
  onStart: () => void;
  children: ReactNode;
}) {
  const { recipes, request } = plan;
  const tokens = request?.tokens ?? DEFAULTS.tokens;
  const cost = costOf(recipes, { tokens, batch: request?.batch ?? DEFAULTS.batch }, model);
  const exists = error instanceof Failure && error.code === "training_exists";
  return (
    <div className="lg:sticky lg:top-3">
      <Panel
        title="What comes of it"
        actions={
          <span className="num ml-auto text-2xs text-ink-3">
            {recipes.length} autoencoder{recipes.length === 1 ? "" : "s"}
          </span>
        }
      >
        <div className="flex flex-col gap-3 px-3 pb-3">
          <ol aria-label="Autoencoders to train" className="max-h-44 overflow-y-auto text-xs">
            {recipes.map((recipe) => (
              <li key={recipeName(recipe)} className="truncate font-mono" title={recipeName(recipe)}>
                {recipeName(recipe)}
              </li>
            ))}
          </ol>
          <dl className="grid grid-cols-3 gap-x-3 gap-y-2" data-testid="cost">
            <Fact
              name="steps"
              title="Tokens over those of a step"
              value={request ? count(cost.steps) : "–"}
            />
            <Fact
              name="takes about"
              title={`At ${model.device.startsWith("cpu") ? "80 GFLOP/s, as measured on two CPU cores" : "10 TFLOP/s, a guess"}; the training’s page shows what it is`}
              value={request ? roughly(cost.seconds) : "–"}
            />
            <Fact name="tokens" title="That are trained on" value={short(tokens)} />
            <Fact name="parameters" title="Of all of them" value={short(cost.parameters)} />
            <Fact
              name="memory"
              title="Weights, gradients and Adam’s moments, besides the model"
              value={bytes(cost.bytes)}
            />
            <Fact
              name="a token"
              title="Floating-point operations: the model up to the last site, and what learns"
              value={`${short(cost.operations).replace(/(\D?)$/, " $1")}FLOP`}
            />
          </dl>
          {children}
          <div className="flex flex-wrap items-center gap-1.5">
            <Button
              look="strong"
              disabled={why !== null || starting}
              title={why ?? "Starts a process of its own: the debugger stays usable"}
              onClick={onStart}
            >
              {starting ? "Starting…" : "Start training"}
            </Button>
            <CopyButton text={() => trainCommand(model.name, plan, form)}>Copy command</CopyButton>
            <CopyButton text={() => trainPython(model.name, plan)}>Copy as Python</CopyButton>
          </div>
          {why !== null && (
            <p className="text-xs text-ink-2" role="status">
              {why}
              {busy !== null && (
                <>
                  {" "}
                  <Link href={trainingAddress(busy)} className="underline">
                    Watch it
                  </Link>
                </>
              )}
            </p>
          )}
          {error && (
            <Notice error={error}>
              {exists && (
                <Link href={trainingAddress(plan.name)} className="underline">
                  See it
                </Link>
              )}
            </Notice>
          )}
        </div>
      </Panel>
    </div>
  );
}

/** A time that nobody knows to the second. */
function roughly(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

function Fact({ name, title, value }: { name: string; title: string; value: string }) {
  return (
    <div title={title}>
      <dt className="text-2xs text-ink-3">{name}</dt>
      <dd className="num text-xs font-medium">{value}</dd>
    </div>
  );
}
