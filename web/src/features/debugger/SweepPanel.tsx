import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Question, SweepCell, Token } from "../../api/types";
import { effectBackground, effectShade } from "../../colour/scale";
import { Button } from "../../components/Button";
import { ComponentLink } from "../../components/ComponentLink";
import { Matrix, type Place } from "../../components/Matrix";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { useSize } from "../../components/useSize";
import { count, seconds, signed } from "../../format/number";
import { visible } from "../../format/token";
import { useAlignment } from "./promptQueries";
import { headsAt, legendMarks, placeName, type Swathe, type Swept, strongest } from "./sweep";
import { type Sweep, useSweep } from "./useSweep";

const TITLES: Record<Swept, string> = { resid: "Residual stream", mlp: "MLPs", attn: "Heads" };
const GUTTER = 26;
/** Ranked places under each map. */
const RANKED = 3;

interface Props {
  question: Question;
  tokens: readonly Token[];
  nLayers: number;
  /** Whether the address says that the sweep was made: it is then made again when the page opens. */
  on: boolean;
  onSweep: (on: boolean) => void;
  /** Adds an edit, such as patch:resid.4@3. */
  onEdit: (edit: string) => void;
  /** Shows a head's node, such as attn.23.3@13. */
  onOpen: (node: string) => void;
}

/**
 * Each head, stream and MLP at each token patched from the second prompt, one at a time: three maps of how much of
 * the difference in D each makes up for. A click on a cell offers to patch it for good.
 */
export function SweepPanel(props: Props) {
  const { question, on } = props;
  // A sweep stays while edits are added to it, and goes when it is about something else.
  const subject = JSON.stringify({ ...question, edits: null });
  const [restored] = useState(on ? subject : null);
  return <Body key={subject} {...props} automatic={restored === subject} />;
}

function Body({
  question,
  tokens,
  nLayers,
  automatic,
  onSweep,
  onEdit,
  onOpen,
}: Props & { automatic: boolean }) {
  const { sweep, begin, stop } = useSweep(nLayers);
  const [chosen, setChosen] = useState<SweepCell | null>(null);
  const asked = useRef(question);
  asked.current = question;
  useEffect(() => {
    if (automatic && asked.current.second) begin(asked.current);
  }, [automatic, begin]);

  const running = sweep?.state === "running";
  const total = sweep?.start?.total ?? 0;
  const refused = question.second ? null : "It patches from a second prompt: add one first";
  const start = () => {
    setChosen(null);
    onSweep(true);
    begin(question);
  };
  return (
    <Panel
      title="Patch sweep"
      actions={
        <>
          <span className="num text-2xs text-ink-3" role="status" data-testid="sweep-progress">
            {sweep && <Progress sweep={sweep} />}
          </span>
          <span className="ml-auto flex items-center gap-2">
            {running ? (
              <Button onClick={stop}>Stop</Button>
            ) : (
              <Button
                look={sweep || refused ? "plain" : "strong"}
                disabled={refused !== null}
                title={refused ?? "Patch every head, stream and MLP at every token, one at a time"}
                onClick={start}
              >
                {sweep ? "Sweep again" : "Sweep"}
              </Button>
            )}
          </span>
        </>
      }
    >
      <div className="h-0.5 overflow-hidden">
        {running && (
          <div
            className={total ? "h-full bg-ink-2" : "working h-full"}
            style={total ? { width: `${(100 * sweep.done) / total}%` } : undefined}
          />
        )}
      </div>
      <div className="flex flex-col gap-2.5 px-3 pt-1 pb-3">
        {sweep?.error && (
          <Notice error={sweep.error}>
            <Button onClick={start}>Retry</Button>
          </Notice>
        )}
        {sweep?.start ? (
          <Maps
            sweep={sweep}
            tokens={tokens}
            nLayers={nLayers}
            edits={question.edits}
            chosen={chosen}
            onChoose={setChosen}
            onEdit={onEdit}
            onOpen={onOpen}
          />
        ) : (
          !sweep?.error && (
            <p className="text-xs text-ink-2">
              {refused
                ? "Add a second prompt, and see which places of the model carry what differs between the two."
                : "Puts the second prompt’s value into each head, stream and MLP at each token, one at a time, and shows how much of the difference in D each makes up for."}
            </p>
          )
        )}
      </div>
    </Panel>
  );
}

function Progress({ sweep }: { sweep: Sweep }) {
  const { state, start, done } = sweep;
  if (!start) return state === "running" ? "waiting for the model" : "";
  const under = sweep.question.edits.length;
  const edited = under ? `, under ${under} edit${under === 1 ? "" : "s"}` : "";
  if (state === "done") return `${count(start.total)} places in ${seconds(sweep.seconds ?? 0)}${edited}`;
  return `${count(done)} of ${count(start.total)} places${edited}${state === "running" ? "" : ", stopped"}`;
}

function Maps({
  sweep,
  tokens,
  nLayers,
  edits,
  chosen,
  onChoose,
  onEdit,
  onOpen,
}: {
  sweep: Sweep;
  tokens: readonly Token[];
  nLayers: number;
  edits: readonly string[];
  chosen: SweepCell | null;
  onChoose: (cell: SweepCell | null) => void;
  onEdit: (edit: string) => void;
  onOpen: (node: string) => void;
}) {
  const { question, swathe, start } = sweep;
  const aligned = useAlignment(question.prompt, question.second?.prompt ?? null, question.bos);
  const second = aligned.data?.right ?? [];
  const [layer, setLayer] = useState<number | null>(null);
  const [tip, setTip] = useState<{ kind: Swept; row: number; column: number; anchor: DOMRect } | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const across = width >= 840 ? 3 : width >= 560 ? 2 : 1;
  const mapWidth = (width - (across - 1) * 16) / across;
  const end = Math.max(1, swathe.largest);
  // Under a trace the traced node's own value is swept.
  const goal = question.trace.length > 0 ? "S" : "D";
  const nothing = start !== null && start.first === start.second;
  const mate = (position: number) => start?.alignment[position] ?? null;

  return (
    <>
      <div className="flex flex-wrap items-start justify-between gap-x-6 gap-y-1.5">
        <p className="text-xs text-ink-2">
          {goal} is <span className="num text-ink">{signed(start?.first)}</span> on the first prompt and{" "}
          <span className="num text-ink">{signed(start?.second)}</span> on the second.
        </p>
        <Legend largest={swathe.largest} goal={goal} />
      </div>
      {nothing && (
        <p className="text-xs text-bad">
          {goal} is the same on both prompts, so there is no difference to restore: choose another target,
          distractor or position.
        </p>
      )}
      <div ref={box} className="flex flex-wrap gap-x-4 gap-y-3">
        {width > 0 &&
          (["resid", "mlp", "attn"] as const).map((kind) => (
            <div key={kind} style={{ width: mapWidth }} data-testid={`sweep-${kind}`}>
              <div className="mb-1 flex h-6 items-center gap-2">
                <h3 className="text-xs font-medium">{TITLES[kind]}</h3>
                <span className="truncate text-2xs text-ink-3">
                  {kind === "attn" && layer !== null ? "head × token" : "layer × token"}
                </span>
                {kind === "attn" && (
                  <select
                    aria-label="Heads shown"
                    value={layer ?? ""}
                    onChange={(event) =>
                      setLayer(event.target.value === "" ? null : Number(event.target.value))
                    }
                    className="ml-auto h-6 rounded border border-line bg-panel px-1 text-xs text-ink-2"
                  >
                    <option value="">strongest of each layer</option>
                    {swathe.attn.map((_, i) => (
                      // biome-ignore lint/suspicious/noArrayIndexKey: a layer is its number
                      <option key={i} value={i}>
                        heads of layer {i}
                      </option>
                    ))}
                  </select>
                )}
              </div>
              <OneMap
                kind={kind}
                layer={kind === "attn" ? layer : null}
                swathe={swathe}
                end={end}
                tokens={tokens}
                nLayers={nLayers}
                width={mapWidth}
                chosen={chosen}
                marked={tip?.kind === kind ? tip : null}
                onHover={(place) => setTip(place && { kind, ...place })}
                onPick={onChoose}
              />
              <ol className="flex flex-col" aria-label={`Strongest, ${TITLES[kind].toLowerCase()}`}>
                {strongest(swathe, kind, RANKED).map((cell) => (
                  <li key={cell.place} className="flex items-center text-xs">
                    {cell.kind === "attn" && (
                      <ComponentLink node={cell.place} className="px-1">
                        {`attn.${cell.layer}.${cell.index}`}
                      </ComponentLink>
                    )}
                    <button
                      type="button"
                      aria-pressed={chosen?.place === cell.place}
                      onClick={() => onChoose(cell)}
                      className="flex min-w-0 flex-1 items-center gap-1.5 rounded-sm px-1 py-0.5 hover:bg-raised aria-pressed:bg-raised"
                    >
                      <span className={cell.kind === "attn" ? "sr-only" : "whitespace-nowrap"}>
                        {placeName(cell)}
                      </span>
                      <span className="text-ink-3">at</span>
                      <TokenText text={tokens[cell.position]?.text ?? ""} className="truncate" />
                      <span
                        className="num ml-auto rounded-sm px-1"
                        style={{ background: effectBackground(cell.restored ?? 0, end) }}
                      >
                        {signed(cell.restored)}
                      </span>
                    </button>
                  </li>
                ))}
              </ol>
            </div>
          ))}
      </div>
      {chosen ? (
        <Chosen
          cell={chosen}
          goal={goal}
          token={tokens[chosen.position]?.text ?? ""}
          patched={edits.some((edit) => edit === `patch:${chosen.place}`)}
          onEdit={onEdit}
          onOpen={onOpen}
          onClose={() => onChoose(null)}
        />
      ) : (
        <p className="text-2xs text-ink-3">Click a cell to patch that place for good and read the effect.</p>
      )}
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              [`token ${tip.column}`, <TokenText key="first" text={tokens[tip.column]?.text ?? ""} />],
              [
                "patched from",
                mate(tip.column) === null ? (
                  "no counterpart"
                ) : (
                  <TokenText key="second" text={second[mate(tip.column) as number]?.text ?? ""} />
                ),
              ],
              ...cellsAt(swathe, tip.kind, layer, tip.row, tip.column)
                .slice(0, RANKED)
                .map((cell) => [placeName(cell), facts(cell, goal)] as const),
            ]}
          />
        </Tip>
      )}
    </>
  );
}

function facts({ restored, value }: SweepCell, goal: string): string {
  return `${signed(restored)} restored · ${goal} ${signed(value)}`;
}

/** The cells that one cell of a map stands for, the strongest first. */
function cellsAt(
  swathe: Swathe,
  kind: Swept,
  layer: number | null,
  row: number,
  column: number,
): SweepCell[] {
  if (kind !== "attn") return [swathe[kind][row]?.[column] ?? []].flat();
  if (layer === null) return headsAt(swathe, row, column);
  return [swathe.attn[layer]?.[row]?.[column] ?? []].flat();
}

function OneMap({
  kind,
  layer,
  swathe,
  end,
  tokens,
  nLayers,
  width,
  chosen,
  marked,
  onHover,
  onPick,
}: {
  kind: Swept;
  /** The layer whose heads are the rows; null: the rows are the layers. */
  layer: number | null;
  swathe: Swathe;
  end: number;
  tokens: readonly Token[];
  nLayers: number;
  width: number;
  chosen: SweepCell | null;
  marked: Place | null;
  onHover: (place: (Place & { anchor: DOMRect }) | null) => void;
  onPick: (cell: SweepCell) => void;
}) {
  const rows = layer === null ? nLayers : Math.max(1, swathe.attn[layer]?.length ?? 0);
  const columns = tokens.length;
  const cellWidth = Math.max(4, Math.min(40, Math.floor((width - GUTTER) / columns)));
  const cellHeight = Math.max(6, Math.min(16, Math.floor(330 / rows)));
  const at = useCallback(
    (row: number, column: number) => cellsAt(swathe, kind, layer, row, column)[0],
    [swathe, kind, layer],
  );
  const shade = useCallback(
    (row: number, column: number) => {
      const cell = at(row, column);
      return cell ? effectShade(cell.restored ?? 0, end) : null;
    },
    [at, end],
  );
  const labels = useMemo(
    () => Array.from({ length: rows }, (_, row) => (rows < 12 || row % 5 === 0 ? `${row}` : null)),
    [rows],
  );
  const row = chosen && (layer === null ? chosen.layer : chosen.layer === layer ? chosen.index : null);
  return (
    <Matrix
      rows={rows}
      columns={columns}
      cellWidth={cellWidth}
      cellHeight={cellHeight}
      rowLabels={labels}
      columnLabels={tokens.map((token) => visible(token.text))}
      gutter={GUTTER}
      shade={shade}
      positive="var(--toward)"
      negative="var(--against)"
      unmade="grey"
      label={`${TITLES[kind]}: share of the difference restored. Rows are ${
        layer === null ? "layers" : `the heads of layer ${layer}`
      }, columns the tokens. Arrow keys move, Enter picks a place to patch.`}
      start={{ row: rows - 1, column: columns - 1 }}
      chosen={chosen?.kind === kind && row !== null ? { row, column: chosen.position } : null}
      marked={marked ?? { row: null, column: null }}
      onHover={onHover}
      onPick={(place) => {
        const cell = at(place.row, place.column);
        if (cell) onPick(cell);
      }}
    />
  );
}

/** What the chosen place did, and the way to keep it. */
function Chosen({
  cell,
  goal,
  token,
  patched,
  onEdit,
  onOpen,
  onClose,
}: {
  cell: SweepCell;
  goal: string;
  token: string;
  patched: boolean;
  onEdit: (edit: string) => void;
  onOpen: (node: string) => void;
  onClose: () => void;
}) {
  return (
    <div
      className="sticky bottom-2 z-10 flex flex-wrap items-center gap-x-3 gap-y-1.5 rounded border border-line-strong bg-raised px-2.5 py-1.5 text-xs"
      data-testid="sweep-chosen"
    >
      <span className="flex items-center gap-1.5">
        <span className="font-medium">
          {cell.kind === "attn" ? (
            <ComponentLink node={cell.place}>{placeName(cell)}</ComponentLink>
          ) : (
            placeName(cell)
          )}
        </span>
        <span className="text-ink-3">at</span>
        <TokenText text={token} />
      </span>
      <span className="num text-ink-2">
        restores <span className="text-ink">{signed(cell.restored)}</span>, {goal} becomes{" "}
        <span className="text-ink">{signed(cell.value)}</span>
      </span>
      <span className="ml-auto flex gap-1.5">
        {cell.kind === "attn" && <Button onClick={() => onOpen(cell.place)}>Show its node</Button>}
        <Button
          look={patched ? "plain" : "strong"}
          disabled={patched}
          title={patched ? "This is one of the edits already" : `Adds the edit patch:${cell.place}`}
          onClick={() => onEdit(`patch:${cell.place}`)}
        >
          Patch it
        </Button>
        <Button
          look="bare"
          icon="cross"
          aria-label="Let go of this place"
          title="Let go of this place"
          onClick={onClose}
        />
      </span>
    </div>
  );
}

/** The colours in numbers; the ends of the scale are the largest share there is, where that is above 1. */
function Legend({ largest, goal }: { largest: number; goal: string }) {
  const marks = legendMarks(largest);
  const end = marks[marks.length - 1] as number;
  const stops = Array.from({ length: 33 }, (_, i) => {
    const value = ((i - 16) / 16) * end;
    return effectBackground(value, end, 1) ?? "var(--panel)";
  });
  return (
    <div className="flex flex-wrap gap-x-3 text-2xs text-ink-2" data-testid="sweep-legend">
      <span>
        share of the difference restored:
        <br />0 is the first prompt’s {goal}, +1 the second’s
      </span>
      <div>
        <div className="relative h-2.5 w-64 rounded-sm border border-line">
          <div className="h-full" style={{ background: `linear-gradient(to right, ${stops.join(", ")})` }} />
          {marks.slice(1, -1).map((mark) => (
            <span
              key={mark}
              className="absolute top-0 h-full w-px bg-ink-3"
              style={{ left: `${50 + (50 * mark) / end}%` }}
            />
          ))}
        </div>
        <div className="num relative h-4 w-64" aria-hidden="true">
          {marks.map((mark, i) => {
            // Marks that would lie on each other: the inner one gives way.
            const inner = i > 0 && i < marks.length - 1 && mark !== 0;
            if (inner && (end < 1.35 || end > 6)) return null;
            return (
              <span
                key={mark}
                className="absolute -translate-x-1/2 first:translate-x-0 last:-translate-x-full"
                style={{ left: `${50 + (50 * mark) / end}%` }}
              >
                {signed(mark)}
              </span>
            );
          })}
        </div>
      </div>
    </div>
  );
}
