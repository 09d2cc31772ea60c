import { memo, useCallback, useState } from "react";
import { usePairs } from "../../api/atlas";
import type { Example } from "../../api/types";
import { activationTint } from "../../colour/scale";
import { Link } from "../../components/Link";
import { placeOf, Strip } from "../../components/Strip";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { signed } from "../../format/number";
import { useSearch } from "../../url/address";
import type { Direction, Layout } from "../../url/componentView";
import { readComponentView, writeComponentView } from "../../url/componentView";
import { debuggerAddress } from "../../url/route";
import { useChosen } from "../../url/useChosen";
import { upToPeak } from "./examples";
import { HeadText } from "./HeadText";

/** One example: its text, the value it was chosen by, where it is from, and the ways on from it. */
export const ExampleRow = memo(function ExampleRow({
  id,
  example,
  max,
  layout,
  direction,
}: {
  id: string;
  example: Example;
  max: number;
  layout: Layout;
  direction: Direction;
}) {
  const { tokens, peak, source, activation, origin } = example;
  const prompt = upToPeak(example);
  const search = useSearch();
  const autoencoders = useChosen();
  const line = layout === "line";
  const text = example.attended ? (
    <HeadExample
      id={id}
      example={example}
      attended={example.attended}
      layout={layout}
      direction={direction}
    />
  ) : (
    <NeuronExample example={example} max={max} layout={layout} />
  );
  const value = <span className="num text-xs font-medium text-ink">{signed(activation)}</span>;
  const from = (
    <span className={`truncate text-right ${line ? "w-40 max-sm:flex-1" : "min-w-0 flex-1"}`} title={origin}>
      {origin}
    </span>
  );
  const ways = (
    <>
      <Link
        href={`/c/${id}${writeComponentView({ ...readComponentView(search), prompt: example.text, bos: false })}`}
        className="shrink-0 hover:text-ink hover:underline"
        title="Read this text as the prompt of this page"
      >
        as prompt
      </Link>
      <Link
        href={debuggerAddress({ prompt, bos: false, autoencoders })}
        className="shrink-0 text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink hover:decoration-current"
        title="Opens the debugger with the text up to and with its strongest token: what comes next there, and why?"
      >
        open in debugger
      </Link>
    </>
  );
  if (line)
    return (
      <article className="flex flex-wrap items-center gap-x-2.5 px-3 py-1 text-2xs text-ink-3 sm:flex-nowrap">
        <span className="w-12 shrink-0 text-right">{value}</span>
        <div className="min-w-0 flex-1 text-ink max-sm:order-last max-sm:basis-full">{text}</div>
        {from}
        {ways}
      </article>
    );
  return (
    <article className="flex flex-col gap-1 px-3 py-2">
      <p className="flex items-baseline gap-x-2.5 text-2xs text-ink-3">
        {value}
        <span className="truncate">
          at <TokenText text={tokens[peak] ?? ""} className="text-ink-2" />
          {source !== null && (
            <>
              {" ← "}
              <TokenText text={tokens[source] ?? ""} className="text-ink-2" />
            </>
          )}
        </span>
        {from}
        {ways}
      </p>
      {text}
    </article>
  );
});

function NeuronExample({ example, max, layout }: { example: Example; max: number; layout: Layout }) {
  const { tokens, activations, peak } = example;
  const [tip, setTip] = useState<{ i: number; anchor: DOMRect } | null>(null);
  const background = useCallback((i: number) => activationTint(activations[i] ?? 0, max), [activations, max]);
  return (
    <div onPointerMove={(event) => setTip(placeOf(event))} onPointerLeave={() => setTip(null)}>
      {layout === "line" ? (
        <Line tokens={tokens} at={peak} background={background} marked={peak} />
      ) : (
        <Strip tokens={tokens} background={background} marked={peak} />
      )}
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              [`token ${example.start + tip.i}`, <TokenText key="token" text={tokens[tip.i] ?? ""} />],
              ["activation", signed(activations[tip.i])],
            ]}
          />
        </Tip>
      )}
    </div>
  );
}

function HeadExample({
  id,
  example,
  attended,
  layout,
  direction,
}: {
  id: string;
  example: Example;
  attended: readonly number[];
  layout: Layout;
  direction: Direction;
}) {
  const { tokens, activations, peak } = example;
  // The pairs are many numbers, and only needed once somebody points at a token.
  const [wanted, setWanted] = useState(false);
  const [pinned, setPinned] = useState<number | null>(null);
  const { data, error } = usePairs(id, example, wanted);
  return (
    <>
      <HeadText
        tokens={tokens}
        activations={activations}
        attended={attended}
        pairs={data?.rows ?? null}
        direction={direction}
        marked={peak}
        pinned={pinned}
        onPin={setPinned}
        onPoint={(i) => {
          if (i !== null) setWanted(true);
        }}
        arranged={
          layout === "line"
            ? (background, marked) => (
                <Line tokens={tokens} at={peak} background={background} marked={marked} />
              )
            : undefined
        }
      />
      {error && <p className="text-2xs text-bad">{error.message}</p>}
    </>
  );
}

/** The text on one line: token `at` of every example stands at the same place, and what does not fit is cut off. */
function Line({
  tokens,
  at,
  background,
  marked,
}: {
  tokens: readonly string[];
  at: number;
  background: (i: number) => string | undefined;
  marked: number | null;
}) {
  const cell = (i: number) => (
    <span
      key={i}
      data-i={i}
      style={{ background: background(i) }}
      className={`shrink-0 rounded-[2px] ${i === marked ? "shadow-[inset_0_-1.5px_0_var(--ink)]" : ""}`}
    >
      <TokenText text={tokens[i] ?? ""} />
    </span>
  );
  return (
    <div className="flex text-xs">
      <div className="flex w-[58%] shrink-0 justify-end overflow-hidden">
        {tokens.slice(0, at).map((_, i) => cell(i))}
      </div>
      <div className="flex min-w-0 flex-1 overflow-hidden">
        {tokens.slice(at).map((_, i) => cell(at + i))}
      </div>
    </div>
  );
}
