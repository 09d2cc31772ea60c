import { useAutoencoders, useReport, useTrainings } from "../../api/autoencoders";
import { Failure } from "../../api/client";
import { useStatus } from "../../api/queries";
import type { Autoencoder, Report } from "../../api/types";
import { Absent } from "../../components/Absent";
import { useAsked } from "../../components/asked";
import { ButtonLink, CopyButton } from "../../components/Button";
import { Command } from "../../components/Command";
import { Icon } from "../../components/Icon";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { useTitle } from "../../components/useTitle";
import { amount, count, percent, seconds, short, signed } from "../../format/number";
import { useQueryString } from "../../url/address";
import { readReportView, writeReportView } from "../../url/reportView";
import { AUTOENCODERS, askedWith, debuggerAddress, trainingAddress } from "../../url/route";
import { Bars } from "./Bars";
import { Judge } from "./Judge";
import { measuresOf } from "./measures";
import { ProbeTable } from "./ProbeTable";
import { Samples } from "./Samples";
import { architectureOf, siteOf, toPython } from "./shelf";

/** What one autoencoder is worth: by measures, by pictures, and by reading some of its latents. */
export function ReportPage({ name }: { name: string }) {
  const [view, change] = useQueryString(readReportView, writeReportView);
  const status = useStatus();
  const shelf = useAutoencoders();
  const found = shelf.data?.find((row) => row.name === name);
  const report = useReport(name, found?.judged === true);
  useTitle(name);
  if (shelf.error && !shelf.data)
    return (
      <main className="mx-auto flex max-w-3xl flex-col gap-3 p-3">
        <Notice error={shelf.error} onRetry={() => shelf.refetch()} />
      </main>
    );
  if (shelf.data && !found && !shelf.isFetching)
    return (
      <main className="mx-auto flex max-w-3xl flex-col gap-3 p-3">
        <Notice
          error={
            new Failure(
              "unknown_autoencoder",
              `There is no autoencoder ${name} here.`,
              "The list has those on the shelf and those given with --sae.",
            )
          }
        >
          <Link href={AUTOENCODERS} className="underline">
            The list
          </Link>
        </Notice>
      </main>
    );
  const data = found?.judged ? report.data : undefined;
  const model = status.data?.model.name ?? "smollm2";
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3" data-testid="report">
      <Head name={name} autoencoder={found} report={data} model={model} />
      {report.error && <Notice error={report.error} onRetry={() => report.refetch()} />}
      {data ? (
        <>
          <div className="grid grid-cols-[minmax(0,1fr)] items-start gap-3 xl:grid-cols-[minmax(0,1fr)_minmax(0,34rem)]">
            <div className="flex min-w-0 flex-col gap-3">
              <Measures report={data} />
              <Panel
                title="What few latents tell"
                actions={
                  <span
                    className="ml-auto text-2xs text-ink-3"
                    title="A probe on the latents that tell most; balanced, on text it was not fitted on"
                  >
                    balanced accuracy of a probe
                  </span>
                }
              >
                <ProbeTable probes={data.probes} />
              </Panel>
            </div>
            <div className="flex min-w-0 flex-col gap-3">
              <Losses report={data} />
              <Panel
                title="How often latents fire"
                actions={
                  <span className="ml-auto text-2xs text-ink-3">latents by share of tokens, logarithmic</span>
                }
              >
                <div className="px-3 pb-2">
                  <Bars
                    histogram={data.density}
                    label="share of tokens"
                    named={(low, high) => `${percent(10 ** low)} to ${percent(10 ** high)}`}
                    below="never"
                    edge={(value) => (value === 0 ? "all" : `1e${value}`.replace("-", "−"))}
                    every={4}
                  />
                </div>
              </Panel>
              <Panel
                title="How alike latents are"
                actions={
                  <span className="ml-auto text-2xs text-ink-3">
                    latents by cosine with the nearest other one
                  </span>
                }
              >
                <div className="px-3 pb-2">
                  <Bars
                    histogram={data.decoder_cosine}
                    label="largest cosine"
                    named={(low, high) => `${signed(low)} to ${signed(high)}`}
                    below={null}
                    edge={(value) => amount(Number(value.toFixed(3)))}
                    every={Math.max(1, Math.floor(data.decoder_cosine.counts.length / 4))}
                  />
                </div>
              </Panel>
            </div>
          </div>
          <Samples name={name} site={data.autoencoder.writes} report={data} view={view} onChange={change} />
        </>
      ) : found && !found.judged ? (
        <Unjudged autoencoder={found} />
      ) : (
        !report.error && (
          <div role="status" className="flex flex-col gap-3">
            <span className="sr-only">Reading the report</span>
            <div className="skeleton h-96" />
          </div>
        )
      )}
    </main>
  );
}

function Head({
  name,
  autoencoder,
  report,
  model,
}: {
  name: string;
  autoencoder: Autoencoder | undefined;
  report: Report | undefined;
  model: string;
}) {
  const asked = useAsked();
  // One that was trained elsewhere and attached has no page of its training here.
  const folder = name.slice(0, Math.max(0, name.indexOf("/")));
  const reference = autoencoder?.reference ?? "";
  const training = useTrainings().data?.rows.find(
    (row) => row.name === folder && [row.folder, row.name].some((start) => reference.startsWith(`${start}/`)),
  );
  return (
    <section aria-label="Autoencoder" className="rounded-md border border-line bg-panel px-3 py-2.5">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <h1 className="min-w-0 font-mono text-base font-semibold break-all">{name}</h1>
        <div className="ml-auto flex flex-wrap items-center gap-1.5">
          {autoencoder?.fits && (
            <ButtonLink
              href={debuggerAddress(askedWith(asked, [name]))}
              title="Explain a token with its latents in place of what they stand for"
            >
              In the debugger
            </ButtonLink>
          )}
          {training !== undefined && (
            <ButtonLink href={trainingAddress(training.name)} title="Its curves">
              Its training
            </ButtonLink>
          )}
          <CopyButton text={() => toPython(model, autoencoder?.reference ?? name, true)}>
            Copy as Python
          </CopyButton>
          <CopyButton text={() => window.location.href}>Copy link</CopyButton>
          <SaveButton
            file="clew-report.json"
            disabled={report === undefined}
            title={report === undefined ? "There is no report yet" : "The whole report"}
            text={() => JSON.stringify(report, null, 2)}
          />
        </div>
      </div>
      {autoencoder && (
        <>
          <p className="num mt-1.5 text-xs whitespace-normal! text-ink-2">
            <span className="font-mono text-ink">{siteOf(autoencoder)}</span>
            {autoencoder.model !== null && (
              <>
                {" of "}
                <span className="font-mono text-ink">{autoencoder.model}</span>
              </>
            )}
            {` · ${architectureOf(autoencoder)} · ${count(autoencoder.latents)} latents`}
            {autoencoder.tokens !== null && ` · trained on ${short(autoencoder.tokens)} tokens`}
            {` · ${autoencoder.format}, ${autoencoder.dtype}`}
          </p>
          {!autoencoder.fits && (
            <p className="mt-1 flex items-center gap-1.5 text-xs text-bad">
              <Icon name="warning" size={13} /> {autoencoder.problem}
            </p>
          )}
          {report && (
            <div className="mt-2 flex flex-wrap items-start justify-between gap-x-4 gap-y-2 border-t border-line pt-2">
              <p className="num text-xs whitespace-normal! text-ink-2">
                Judged on {count(report.tokens)} tokens of {report.corpus}, {known(report.held_out)}, in{" "}
                {seconds(report.seconds)}
              </p>
              <Judge
                name={name}
                judged
                refused={autoencoder.fits ? null : (autoencoder.problem ?? "It does not fit.")}
              />
            </div>
          )}
        </>
      )}
    </section>
  );
}

/** Whether trainings had read what it was judged on. */
function known(heldOut: boolean | null): string {
  if (heldOut === null) return "perhaps trained on";
  return heldOut ? "that trainings set aside" : "some of which it was trained on";
}

/** What stands where a report would. */
function Unjudged({ autoencoder }: { autoencoder: Autoencoder }) {
  return (
    <Absent
      label="Not judged"
      data-testid="unjudged"
      title="It was not judged yet"
      about="Judging runs the model over text and says what the autoencoder loses, how sparse it is, how often its latents fire, what few of them tell, and draws some for you to read. On a quiet machine 50 000 tokens take a minute or two."
    >
      <Judge
        name={autoencoder.name}
        judged={false}
        refused={autoencoder.fits ? null : (autoencoder.problem ?? "It does not fit this model.")}
      />
      <Command text={`clew sae eval ${autoencoder.reference}`} />
    </Absent>
  );
}

function Measures({ report }: { report: Report }) {
  return (
    <Panel title="Measures">
      <div className="relative overflow-x-auto">
        <table className="w-full border-collapse text-xs" aria-label="Measures">
          <thead className="sr-only">
            <tr>
              <th>Measure</th>
              <th>Value</th>
              <th>What it is, and how far to trust it</th>
            </tr>
          </thead>
          <tbody>
            {measuresOf(report).map(({ name, value, means, trust }) => (
              <tr key={name} data-measure={name} className="border-t border-line align-baseline">
                <td className="py-1.5 pr-2 pl-3 whitespace-nowrap text-ink-2 max-sm:whitespace-normal">
                  {name}
                </td>
                <td className="num px-2 py-1.5 text-right text-sm font-medium">{value}</td>
                <td className="px-3 py-1.5">
                  {means} <span className="text-ink-3">{trust}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

/** The model's loss with the site as it is, and with other things in its place. */
function Losses({ report }: { report: Report }) {
  const { ce_clean, ce_spliced, ce_mean, ce_zero, ce_tokens } = report;
  const rows = [
    ["as it is", ce_clean, "The model untouched"],
    ["reconstructed", ce_spliced, "The site replaced by what the autoencoder makes of it"],
    ["its mean", ce_mean, "The site replaced by its mean over the text"],
    ["zero", ce_zero, "The site replaced by zero"],
  ] as const;
  const most = Math.max(...rows.map(([, loss]) => loss));
  return (
    <Panel
      title="The model’s loss"
      actions={
        <span className="num ml-auto text-2xs text-ink-3">nats a token, over {count(ce_tokens)} tokens</span>
      }
    >
      <table className="w-full border-collapse text-xs" aria-label="Losses">
        <tbody>
          {rows.map(([name, loss, title]) => (
            <tr key={name} data-loss={name} title={title} className="border-t border-line">
              <td className="h-6.5 px-3 whitespace-nowrap">{name}</td>
              <td className="num px-2 text-right font-medium">{amount(loss)}</td>
              <td className="num px-2 text-right text-ink-3">
                {loss === ce_clean ? "" : signed(loss - ce_clean)}
              </td>
              <td className="w-1/2 px-3">
                <span className="block h-2 rounded-[2px] bg-raised" aria-hidden="true">
                  <span
                    className={`block h-full rounded-[2px] ${name === "reconstructed" ? "bg-active" : "bg-ink-3"}`}
                    style={{ width: `${(100 * loss) / Math.max(1e-9, most)}%` }}
                  />
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}
