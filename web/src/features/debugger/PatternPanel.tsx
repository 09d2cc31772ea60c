import { useCallback, useMemo, useRef, useState } from "react";
import type { NodeEffect, Question, Token } from "../../api/types";
import { activationOpacity } from "../../colour/scale";
import { Button } from "../../components/Button";
import { ComponentLink } from "../../components/ComponentLink";
import { Matrix, type Place } from "../../components/Matrix";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { useSize } from "../../components/useSize";
import { signed } from "../../format/number";
import { visible } from "../../format/token";
import { attendedBy, attendingTo, leadingHeads, parseHead, type Rows, type Weight } from "./pattern";
import { usePattern } from "./promptQueries";

const GUTTER = 68;
const OFFERED = 6;
/** Tokens named on each side of the one under the pointer. */
const NAMED = 4;

interface Props {
  question: Question;
  tokens: readonly Token[];
  /** The rows of the answer's table: their strongest heads are offered. */
  nodes: readonly NodeEffect[];
  nLayers: number;
  nHeads: number;
  /** The token after which D is read. */
  at: number;
  /** Such as attn.23.3; null: none is chosen. */
  head: string | null;
  onHead: (head: string | null) => void;
  /** Goes a step upstream, such as attn.23.3@13<-9:both. */
  onTrace: (step: string) => void;
  /** Adds an edit, such as cut:attn.23.3@13<-9. */
  onEdit: (edit: string) => void;
}

/** Which token attends to which in one head: a matrix, and the text with what the token under the pointer reads. */
export function PatternPanel(props: Props) {
  const { nodes, nLayers, nHeads, head, onHead } = props;
  const named = parseHead(head);
  const offered = useMemo(() => leadingHeads(nodes, OFFERED), [nodes]);
  return (
    <Panel
      title="Attention pattern"
      actions={
        <div className="ml-auto flex items-center gap-2 text-xs text-ink-2">
          <Choose
            label="layer"
            n={nLayers}
            value={named?.layer ?? null}
            onChange={(layer) => onHead(`attn.${layer}.${named?.index ?? 0}`)}
          />
          <Choose
            label="head"
            n={nHeads}
            value={named?.index ?? null}
            onChange={(index) => onHead(`attn.${named?.layer ?? 0}.${index}`)}
          />
          {head !== null && <ComponentLink node={head}>{head}</ComponentLink>}
          {head !== null && (
            <Button
              look="bare"
              icon="cross"
              className="-mr-1.5"
              aria-label="Close the attention pattern"
              title="Close the attention pattern"
              onClick={() => onHead(null)}
            />
          )}
        </div>
      }
    >
      <div className="px-3 pb-3">
        {offered.length > 0 && (
          <div className="mb-2 flex flex-wrap items-center gap-1 text-xs text-ink-2">
            <span className="mr-1">
              {named ? "Strongest here" : "Choose a head to see which token attends to which. Strongest here"}
            </span>
            {offered.map((id) => (
              <Button
                key={id}
                aria-pressed={id === head}
                onClick={() => onHead(id)}
                className="aria-pressed:bg-raised"
              >
                {id.slice("attn.".length)}
              </Button>
            ))}
          </div>
        )}
        {head !== null && <Pattern key={`${head} ${props.question.prompt}`} {...props} head={head} />}
      </div>
    </Panel>
  );
}

function Choose({
  label,
  n,
  value,
  onChange,
}: {
  label: string;
  n: number;
  value: number | null;
  onChange: (value: number) => void;
}) {
  return (
    <label className="flex items-center gap-1">
      {label}
      <select
        aria-label={`Pattern of ${label}`}
        value={value ?? ""}
        onChange={(event) => onChange(Number(event.target.value))}
        className="num h-6 rounded border border-line bg-panel px-1 text-xs text-ink"
      >
        {value === null && <option value="">–</option>}
        {Array.from({ length: n }, (_, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a layer or head is its number
          <option key={i}>{i}</option>
        ))}
      </select>
    </label>
  );
}

function Pattern({ question, tokens, at, head, onTrace, onEdit }: Props & { head: string }) {
  const { data, error, refetch, isPlaceholderData } = usePattern(question, head);
  const [tip, setTip] = useState<(Place & { anchor: DOMRect }) | null>(null);
  const [chosen, setChosen] = useState<Place | null>(null);
  const [over, setOver] = useState<number | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const rows: Rows = data?.rows ?? NO_ROWS;
  const shade = useCallback(
    (row: number, column: number) => (column > row ? null : activationOpacity(rows[row]?.[column] ?? 0, 1)),
    [rows],
  );
  const labels = useMemo(() => tokens.map((token) => visible(token.text)), [tokens]);
  const n = rows.length;
  const room = Math.min(width, 480) - GUTTER;
  const cell = Math.max(3, Math.min(22, Math.floor(room / Math.max(1, n))));
  const weight = (place: Place) => rows[place.row]?.[place.column];
  // The token whose row and column the text shows: under the pointer, else chosen, else where D is read.
  const token = Math.min(over ?? tip?.row ?? chosen?.row ?? at, n - 1);
  const text = (position: number) => tokens[position]?.text ?? "";

  if (error)
    return (
      <Notice error={error}>
        <Button onClick={() => refetch()}>Retry</Button>
      </Notice>
    );
  return (
    <div ref={box} className={`flex flex-wrap gap-x-6 gap-y-3 ${isPlaceholderData ? "stale" : ""}`}>
      {data === undefined || width === 0 || n > tokens.length ? (
        <div role="status" className="skeleton h-72 w-full">
          <span className="sr-only">Reading the attention pattern</span>
        </div>
      ) : (
        <>
          <div className="max-w-full" data-testid="pattern">
            <Matrix
              rows={n}
              columns={n}
              cellWidth={cell}
              cellHeight={cell}
              rowLabels={labels}
              columnLabels={labels}
              gutter={GUTTER}
              shade={shade}
              positive="var(--active)"
              negative="var(--active)"
              unmade="none"
              label={`Attention of ${head}. Rows are the tokens that attend, columns those attended to. Arrow keys move, Enter asks why.`}
              start={{ row: at, column: at }}
              chosen={chosen}
              marked={tip ?? { row: chosen?.row ?? null, column: chosen?.column ?? null }}
              onHover={(place) => setTip(place && place.column <= place.row ? place : null)}
              onPick={(place) => {
                if (place.column <= place.row) setChosen(place);
              }}
            />
            <p className="text-2xs text-ink-3">Row: the token that attends. Column: the token attended to.</p>
          </div>
          <div className="flex min-w-60 flex-1 basis-72 flex-col gap-2.5">
            {chosen ? (
              <Why
                head={head}
                place={chosen}
                weight={weight(chosen)}
                text={text}
                onTrace={onTrace}
                onEdit={onEdit}
              />
            ) : (
              <p className="text-xs text-ink-2">
                Click a cell to ask why the token of its row attends to the token of its column.
              </p>
            )}
            <TokenView rows={rows} tokens={tokens.slice(0, n)} token={token} onOver={setOver} />
          </div>
        </>
      )}
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              [`token ${tip.row}`, <TokenText key="row" text={text(tip.row)} />],
              [`attends to ${tip.column}`, <TokenText key="column" text={text(tip.column)} />],
              ["weight", signed(weight(tip))],
            ]}
          />
        </Tip>
      )}
    </div>
  );
}

const NO_ROWS: Rows = [];

/** The question that a cell of the pattern stands for, and what one can do about the cell. */
function Why({
  head,
  place,
  weight,
  text,
  onTrace,
  onEdit,
}: {
  head: string;
  place: Place;
  weight: number | undefined;
  text: (position: number) => string;
  onTrace: (step: string) => void;
  onEdit: (edit: string) => void;
}) {
  const pair = `${head}@${place.row}<-${place.column}`;
  return (
    <section
      aria-label="The chosen pair"
      className="flex flex-col gap-1.5 rounded border border-line bg-raised px-2.5 py-2 text-xs"
    >
      <p>
        Head <ComponentLink node={head}>{head.slice("attn.".length)}</ComponentLink> at{" "}
        <TokenText text={text(place.row)} /> attends to <TokenText text={text(place.column)} /> with weight{" "}
        <span className="num">{signed(weight)}</span>.
      </p>
      <div className="flex flex-wrap gap-1.5">
        <Button
          look="strong"
          className="h-auto! min-h-6.5 py-0.5 whitespace-normal!"
          title="Explain its attention score, through query and key"
          onClick={() => onTrace(`${pair}:both`)}
        >
          <span>
            Why does it at <TokenText text={text(place.row)} /> attend to{" "}
            <TokenText text={text(place.column)} />?
          </span>
        </Button>
        <Button title="What makes the query at the token that attends" onClick={() => onTrace(`${pair}:q`)}>
          through Q
        </Button>
        <Button title="What makes the key at the token attended to" onClick={() => onTrace(`${pair}:k`)}>
          through K
        </Button>
        <Button
          title="What it moves from there towards what is explained"
          onClick={() => onTrace(`${pair}:v`)}
        >
          through V
        </Button>
        <Button
          title="Sets this weight to 0 and makes the rest of its row sum to 1 again"
          onClick={() => onEdit(`cut:${pair}`)}
        >
          Cut
        </Button>
      </div>
    </section>
  );
}

/** The text: light blue what one token attends to, pink what attends to it. */
function TokenView({
  rows,
  tokens,
  token,
  onOver,
}: {
  rows: Rows;
  tokens: readonly Token[];
  token: number;
  onOver: (position: number | null) => void;
}) {
  const to = useMemo(() => attendedBy(rows, token), [rows, token]);
  const from = useMemo(() => attendingTo(rows, token), [rows, token]);
  const tint = (position: number): string | undefined => {
    const [colour, value, max] =
      position <= token
        ? ["var(--attended)", rows[token]?.[position] ?? 0, to[0]?.weight ?? 0]
        : ["var(--attending)", rows[position]?.[token] ?? 0, from[0]?.weight ?? 0];
    const opacity = activationOpacity(value, max) * 70;
    return opacity > 0 ? `color-mix(in srgb, ${colour} ${opacity.toFixed(1)}%, transparent)` : undefined;
  };
  return (
    <div>
      <div
        className="flex max-h-56 flex-wrap gap-x-px gap-y-1 overflow-y-auto p-px"
        data-testid="pattern-tokens"
        onPointerLeave={() => onOver(null)}
      >
        {tokens.map(({ position, text }) => (
          <button
            key={position}
            type="button"
            aria-label={`${text}, token ${position}`}
            aria-current={position === token || undefined}
            onPointerEnter={() => onOver(position)}
            onFocus={() => onOver(position)}
            onBlur={() => onOver(null)}
            style={{ background: tint(position) }}
            className={`h-5.5 rounded-[3px] px-[3px] text-xs ${
              position === token ? "shadow-[inset_0_0_0_1.5px_var(--ink)]" : ""
            }`}
          >
            <TokenText text={text} />
          </button>
        ))}
      </div>
      <dl className="mt-1.5 grid grid-cols-[auto_minmax(0,1fr)] gap-x-2 gap-y-0.5 text-xs">
        <Side name="attends to" colour="bg-attended" weights={to} tokens={tokens} />
        <Side name="attended from" colour="bg-attending" weights={from} tokens={tokens} />
      </dl>
    </div>
  );
}

function Side({
  name,
  colour,
  weights,
  tokens,
}: {
  name: string;
  colour: string;
  weights: readonly Weight[];
  tokens: readonly Token[];
}) {
  return (
    <>
      <dt className="flex items-center gap-1.5 self-start text-ink-2">
        <span className={`size-2 rounded-full ${colour}`} />
        {name}
      </dt>
      <dd className="flex min-h-4 flex-wrap gap-x-2.5">
        {weights.length === 0 && <span className="text-ink-3">no token after it</span>}
        {weights.slice(0, NAMED).map(({ position, weight }) => (
          <span key={position} className="whitespace-nowrap">
            <TokenText text={tokens[position]?.text ?? ""} />{" "}
            <span className="num text-ink-2">{signed(weight)}</span>
          </span>
        ))}
      </dd>
    </>
  );
}
