import { useState } from "react";
import { Facts, Tip } from "../../components/Tip";
import { signed } from "../../format/number";
import type { Step, Waterfall } from "./waterfall";

const TITLES: Record<string, string> = {
  embed: "embedding",
  attn: "attention",
  mlp: "MLP",
  resid: "stream",
  latent: "latents",
  error: "error of the autoencoder",
  bias: "all biases",
  edit: "what the edits add outside of any node",
  constant: "what the traced node adds itself",
  remainder: "what its non-linearity leaves over",
  skip: "what transcoders pass on without latents",
};
/** The labels of the steps that have a whole row after the layers. */
const TAIL: Record<string, string> = {
  bias: "biases",
  edit: "edits",
  constant: "const.",
  remainder: "rest",
  skip: "linear",
};
/** How solid the bars of a layer's steps are: each has a look of its own. */
const OPACITY: Readonly<Record<string, number>> = { mlp: 0.6, latent: 0.85, error: 0.35 };

/** Direct effects step by step, from nothing to what is explained: one row a layer, its steps from the top down. */
export function WaterfallChart({
  fall,
  layers,
  goal,
  value,
  rowHeight,
  axis,
  width,
}: {
  fall: Waterfall;
  /** How many the model has. */
  layers: number;
  /** What is explained: D, or S in a trace. */
  goal: "D" | "S";
  value: number;
  rowHeight: number;
  axis: number;
  width: number;
}) {
  const [tip, setTip] = useState<{ anchor: DOMRect; step: Step } | null>(null);
  const inner = width - 8;
  const x = (effect: number) => 4 + ((effect - fall.low) / (fall.high - fall.low || 1)) * inner;
  const tail = fall.steps.filter((step) => step.layer === null && step.step !== "embed");
  const row = (step: Step) =>
    step.layer !== null ? step.layer + 1 : step.step === "embed" ? 0 : layers + 1 + tail.indexOf(step);
  // Two steps a layer, more where an autoencoder's latents and error stand in place of one.
  const within = new Map<number, Step[]>();
  for (const step of fall.steps)
    if (step.layer !== null) within.set(step.layer, [...(within.get(step.layer) ?? []), step]);
  const replaced = fall.steps.some(({ step }) => step === "latent");
  const endRow = layers + 1 + tail.length;
  const height = endRow * rowHeight + rowHeight + 4;
  const every = rowHeight >= 14 ? 1 : layers <= 12 ? 2 : 5;
  return (
    <figure className="shrink-0">
      <svg
        width={axis + width}
        height={height}
        role="img"
        aria-label={`Waterfall of direct effects by layer, ending at ${goal} = ${signed(value)}`}
      >
        <line x1={axis + x(0)} x2={axis + x(0)} y1={0} y2={height - 4} stroke="var(--line-strong)" />
        {Array.from({ length: layers }, (_, layer) => layer)
          .filter((layer) => layer > 0 && layer % every === 0)
          .map((layer) => (
            <text
              key={layer}
              x={axis - 6}
              y={(layer + 1.5) * rowHeight + 3.5}
              textAnchor="end"
              className="fill-ink-3 text-[10px]"
            >
              {layer}
            </text>
          ))}
        <text x={axis - 6} y={rowHeight / 2 + 3.5} textAnchor="end" className="fill-ink-3 text-[10px]">
          embed
        </text>
        {tail.map((step, i) => (
          <text
            key={step.step}
            x={axis - 6}
            y={(layers + 1.5 + i) * rowHeight + 3.5}
            textAnchor="end"
            className="fill-ink-3 text-[10px]"
          >
            {TAIL[step.step] ?? step.step}
          </text>
        ))}
        <text
          x={axis - 6}
          y={(endRow + 0.5) * rowHeight + 3.5}
          textAnchor="end"
          className="fill-ink text-[10px] font-semibold"
        >
          {goal}
        </text>
        {fall.steps.map((step) => {
          const beside = step.layer === null ? [step] : (within.get(step.layer) ?? [step]);
          const tall = rowHeight / Math.max(beside.length, step.layer === null ? 1 : 2);
          const y = row(step) * rowHeight + beside.indexOf(step) * tall;
          const left = Math.min(x(step.start), x(step.end));
          return (
            <g
              key={`${step.step}${step.layer}`}
              onPointerEnter={(event) =>
                setTip({ anchor: event.currentTarget.getBoundingClientRect(), step })
              }
              onPointerLeave={() => setTip(null)}
            >
              <rect x={axis} y={y} width={width} height={tall} fill="transparent" />
              <rect
                x={axis + left}
                y={y + 0.5}
                width={Math.max(1, Math.abs(x(step.end) - x(step.start)))}
                height={Math.max(1, tall - 1)}
                fill={step.effect >= 0 ? "var(--toward)" : "var(--against)"}
                opacity={OPACITY[step.step] ?? 1}
              />
            </g>
          );
        })}
        <rect
          x={axis + Math.min(x(0), x(value))}
          y={endRow * rowHeight + 1}
          width={Math.max(1, Math.abs(x(value) - x(0)))}
          height={rowHeight - 2}
          fill={value >= 0 ? "var(--toward)" : "var(--against)"}
        />
      </svg>
      <figcaption className="mt-0.5 pl-11 text-2xs text-ink-3" style={{ width: axis + width }}>
        attention solid, MLP pale{replaced && ", latents between, errors palest"}; ends at {goal} ={" "}
        {signed(value)}
      </figcaption>
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              [
                TITLES[tip.step.step] ?? tip.step.step,
                tip.step.layer === null ? "" : `layer ${tip.step.layer}`,
              ],
              ["direct effect", signed(tip.step.effect)],
              ["sum so far", signed(tip.step.end)],
            ]}
          />
        </Tip>
      )}
    </figure>
  );
}
