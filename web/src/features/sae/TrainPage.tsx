import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import { SHELF, useTrainings } from "../../api/autoencoders";
import { api } from "../../api/client";
import { useStatus } from "../../api/queries";
import type { Architecture, Model } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { Tick } from "../../components/Tick";
import { useTitle } from "../../components/useTitle";
import { count, short } from "../../format/number";
import { type Change, go, useQueryString } from "../../url/address";
import { trainingAddress } from "../../url/route";
import {
  ARCHITECTURES,
  readTrainForm,
  type TextField,
  type TrainForm,
  writeTrainForm,
} from "../../url/trainForm";
import { Field } from "./Field";
import { DEFAULTS, firstSite, hasK, planOf, widthOf } from "./plan";
import { SitePicker } from "./SitePicker";
import { TrainSummary } from "./TrainSummary";

const ABOUT: Record<Architecture, string> = {
  topk: "the k strongest fire on every token (Gao et al. 2024)",
  batchtopk: "k fire on average over a batch (Bussmann et al. 2024)",
  matryoshka: "nested dictionaries, the small ones general (Bussmann et al. 2025)",
  jumprelu: "each has a threshold of its own, L0 is penalised (Rajamanoharan et al. 2024)",
  relu: "the 2023 recipe: L1 penalty, dead ones resampled (Bricken et al. 2023)",
};
/** Tokens that are offered. */
const LENGTHS = [100_000, 300_000, 1_000_000, 10_000_000];

/** A training is written down: what, how, on which text, and what it will cost. */
export function TrainPage() {
  const [form, change] = useQueryString(readTrainForm, writeTrainForm);
  const status = useStatus();
  const model = status.data?.model;
  useTitle("Train");
  if (!model)
    return (
      <main className="mx-auto max-w-[1680px] p-3">{status.error && <Notice error={status.error} />}</main>
    );
  return <Form form={form} model={model} onChange={change} />;
}

function Form({ form, model, onChange }: { form: TrainForm; model: Model; onChange: Change<TrainForm> }) {
  const client = useQueryClient();
  const trainings = useTrainings();
  const taken = useMemo(() => trainings.data?.rows.map(({ name }) => name) ?? [], [trainings.data]);
  const plan = useMemo(() => planOf(form, model, taken), [form, model, taken]);
  const busy = trainings.data?.busy ?? null;
  const { problems, request } = plan;
  const train = useMutation({
    mutationFn: () => api.train(request as NonNullable<typeof request>),
    onSuccess: ({ name }) => {
      client.invalidateQueries({ queryKey: [SHELF] });
      go(trainingAddress(name));
      window.scrollTo(0, 0);
    },
  });
  const why =
    busy !== null
      ? `${busy} is being trained: one at a time from the page.`
      : (Object.values(problems)[0] ?? null);
  const set = (part: Partial<TrainForm>) => {
    train.reset();
    onChange(part, "replace");
  };
  const text = (field: TextField, label: string, placeholder: string | number, help?: string) => (
    <Field
      label={label}
      help={help}
      problem={problems[field] ?? null}
      value={form[field]}
      placeholder={String(placeholder)}
      onChange={(event) => set({ [field]: event.target.value })}
      className="num"
    />
  );
  const sites = form.sites ?? [firstSite(model)];
  const first = sites[0] ?? firstSite(model);
  const width = widthOf(first, model);
  const toggled = (architecture: Architecture) => {
    const chosen = form.architectures.includes(architecture)
      ? form.architectures.filter((one) => one !== architecture)
      : ARCHITECTURES.filter((one) => one === architecture || form.architectures.includes(one));
    // The last one stays: there is nothing to train without.
    if (chosen.length) set({ architectures: chosen });
  };
  const someK = form.architectures.some(hasK);
  const somePenalty = form.architectures.some((one) => !hasK(one));
  const relu = form.architectures.includes("relu");
  const start = () => {
    if (why === null && !train.isPending) train.mutate();
  };
  return (
    <main className="mx-auto grid max-w-[1200px] grid-cols-[minmax(0,1fr)] items-start gap-3 p-3 lg:grid-cols-[minmax(0,1fr)_24rem]">
      <div className="flex min-w-0 flex-col gap-3">
        <Panel title="What to train" actions={<Several />}>
          <div className="flex flex-col gap-3 px-3 pb-3">
            <div>
              <p className="mb-1 text-xs text-ink-2">
                Sites <span className="text-2xs text-ink-3">the tensors that are taken apart</span>
              </p>
              <SitePicker
                sites={sites}
                model={model}
                transcoder={form.writes.trim() !== ""}
                onChange={(sites) => set({ sites })}
              />
              {problems.sites && (
                <p role="alert" className="mt-1 text-2xs text-bad">
                  {problems.sites}
                </p>
              )}
            </div>
            <fieldset>
              <legend className="mb-1 text-xs text-ink-2">Architecture</legend>
              <div className="grid gap-x-4 gap-y-1 sm:grid-cols-2">
                {ARCHITECTURES.map((architecture) => (
                  <label key={architecture} className="flex items-baseline gap-2 text-xs">
                    <input
                      type="checkbox"
                      checked={form.architectures.includes(architecture)}
                      onChange={() => toggled(architecture)}
                      className="translate-y-px"
                    />
                    <span className="min-w-0">
                      <span className="font-medium">{architecture}</span>{" "}
                      <span className="text-2xs text-ink-3">{ABOUT[architecture]}</span>
                    </span>
                  </label>
                ))}
              </div>
              {problems.architectures && (
                <p role="alert" className="mt-1 text-2xs text-bad">
                  {problems.architectures}
                </p>
              )}
            </fieldset>
            <div className="grid grid-cols-2 gap-x-3 gap-y-2 sm:grid-cols-3">
              {text("latents", "Latents", 8 * width, `8 × ${width} by default`)}
              {someK && text("k", "k", DEFAULTS.k, "latents that fire on a token")}
              {somePenalty && text("sparsity", "Sparsity", "the architecture’s own", "weight of the penalty")}
            </div>
          </div>
        </Panel>
        <Panel title="On which text">
          <div className="grid grid-cols-1 gap-x-3 gap-y-2 px-3 pb-3 sm:grid-cols-2">
            <Field
              label="Tokens"
              problem={problems.tokens ?? null}
              value={form.tokens}
              placeholder={short(DEFAULTS.tokens)}
              onChange={(event) => set({ tokens: event.target.value })}
              className="num"
              beside={LENGTHS.map((n) => (
                <Button key={n} className="num" onClick={() => set({ tokens: short(n) })}>
                  {short(n)}
                </Button>
              ))}
            />
            <Field
              label="Corpus"
              help="a folder, a file, or a dataset of the hub"
              value={form.corpus}
              placeholder="the English documentation that ships with Python"
              onChange={(event) => set({ corpus: event.target.value })}
              className="not-placeholder-shown:font-mono"
            />
          </div>
        </Panel>
        <details
          className="rounded-md border border-line bg-panel"
          open={ADVANCED.some((field) => problems[field] !== undefined) || undefined}
        >
          <summary className="px-3 py-2 text-xs font-semibold">
            Advanced{" "}
            <span className="pl-1 font-normal text-ink-3">transcoders, loss, optimiser, buffer, seed</span>
          </summary>
          <div className="flex flex-col gap-3 px-3 pb-3">
            <div className="grid grid-cols-2 gap-x-3 gap-y-2 sm:grid-cols-3">
              {text("writes", "Writes", "the site it reads", "another makes a transcoder")}
              {text("rate", "Learning rate", "the architecture’s own")}
              {text("batch", "Batch", count(DEFAULTS.batch), "tokens in a step")}
              {text("context", "Context", DEFAULTS.context, "tokens read at once")}
              {text("buffer", "Shuffle buffer", count(DEFAULTS.buffer), "tokens")}
              {text("save", "Save every", short(DEFAULTS.save), "tokens")}
              {text("warmup", "Warm-up", DEFAULTS.warmup, "share of the run")}
              {text("decay", "Decay", DEFAULTS.decay, "share of the run")}
              {text("clip", "Clip gradients at", DEFAULTS.clip)}
              {text("seed", "Seed", DEFAULTS.seed, "of the order of the text")}
            </div>
            <div className="flex flex-wrap items-center gap-x-5 gap-y-2 text-xs text-ink-2">
              {relu && (
                <span className="flex items-center gap-2">
                  Loss of relu
                  <Segmented<TrainForm["loss"]>
                    label="Loss of relu"
                    value={form.loss}
                    onChange={(loss) => set({ loss })}
                    choices={[
                      { value: "2023", label: "2023", title: "MSE + λ‖f‖₁, decoder rows of length 1" },
                      { value: "2024", label: "April 2024", title: "MSE + λ Σ f·‖W_dec‖, a free decoder" },
                    ]}
                  />
                </span>
              )}
              <Tick
                label="resample dead latents"
                title={relu ? "As the 2023 recipe does" : "Of relu only"}
                checked={form.resample}
                disabled={!relu}
                onChange={(resample) => set({ resample })}
              />
              <Tick
                label="linear term past the latents"
                title={
                  form.writes
                    ? "What is linear needs no latents"
                    : "Of a transcoder only: name a site to write"
                }
                checked={form.skip}
                disabled={!form.writes}
                onChange={(skip) => set({ skip })}
              />
              <Tick
                label="start token"
                title={model.bos === null ? "This model has none" : `Puts ${model.bos} before each context`}
                checked={form.bos}
                disabled={model.bos === null}
                onChange={(bos) => set({ bos })}
              />
            </div>
          </div>
        </details>
      </div>
      <TrainSummary
        plan={plan}
        form={form}
        model={model}
        why={why}
        busy={busy}
        starting={train.isPending}
        error={train.error}
        onStart={start}
      >
        <Field
          label="Name"
          help="of its folder"
          problem={problems.name ?? null}
          value={form.name}
          placeholder={plan.name}
          onChange={(event) => set({ name: event.target.value })}
          onKeyDown={(event) => event.key === "Enter" && start()}
          className="font-mono"
        />
        {taken.includes(form.name.trim()) && (
          <Tick
            label="replace what is there"
            title="Throws away the training of this name"
            checked={form.replace}
            onChange={(replace) => set({ replace })}
          />
        )}
      </TrainSummary>
    </main>
  );
}

/** Fields that are folded away. */
const ADVANCED: readonly TextField[] = [
  "writes",
  "rate",
  "batch",
  "context",
  "buffer",
  "save",
  "warmup",
  "decay",
  "clip",
  "seed",
];

function Several() {
  return (
    <span className="ml-auto text-2xs text-ink-3">
      several of anything train side by side, in one pass of the model: 16, 32, 64
    </span>
  );
}
