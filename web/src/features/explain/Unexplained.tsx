import { useState } from "react";
import { Absent } from "../../components/Absent";
import { Button } from "../../components/Button";
import { Command } from "../../components/Command";
import { count } from "../../format/number";
import { INPUT } from "../sae/Field";
import { useExplaining } from "./Explaining";
import { ExplainProgressLine } from "./ExplainProgressLine";
import { FIRST_RECIPE, NEURONS, requestOf, toCommand } from "./request";

/** What stands where there are no words yet: how they come about, at once and offline. */
export function Unexplained({ model, layers, neurons }: { model: string; layers: number; neurons: number }) {
  const { running, begin } = useExplaining();
  const [number, setNumber] = useState(String(Math.min(NEURONS, neurons)));
  const [layer, setLayer] = useState(Math.min(5, layers - 1));
  const many = Number(number.replace(/[\s,_.]/g, ""));
  const wrong = !Number.isInteger(many) || many < 1 || many > neurons;
  const components = [`neuron.${layer}.0-${wrong ? NEURONS - 1 : many - 1}`];
  const found = requestOf(FIRST_RECIPE, components, null);
  const request = "request" in found ? found.request : null;
  return (
    <Absent
      label="No explanations"
      data-testid="no-explanations"
      title="No component of this model has words yet"
      about={
        <p>
          Words say what a component does in general; a score says how far to trust them, on texts that
          whoever wrote them never saw. The token lookup finds some offline, without any language model: it
          says which tokens a component fires on, and is the least that a language model should beat.
        </p>
      }
    >
      {running ? (
        <ExplainProgressLine />
      ) : (
        <form
          className="flex flex-wrap items-center gap-x-2 gap-y-1.5"
          onSubmit={(event) => {
            event.preventDefault();
            if (!wrong && request) begin(request);
          }}
        >
          <Button
            type="submit"
            look="strong"
            disabled={wrong}
            title={
              wrong
                ? `A layer has ${count(neurons)} neurons: give a number from 1 to that`
                : "It can be cancelled; what is done is kept"
            }
          >
            Explain now, offline
          </Button>
          <label className="flex items-center gap-1.5 text-xs text-ink-2">
            the first
            <input
              value={number}
              inputMode="numeric"
              aria-label="Neurons to explain"
              aria-invalid={wrong}
              onChange={(event) => setNumber(event.target.value)}
              className={`${INPUT} num w-16! text-right`}
            />
            neurons
          </label>
          <label className="flex items-center gap-1.5 text-xs text-ink-2">
            of layer
            <select
              value={layer}
              onChange={(event) => setLayer(Number(event.target.value))}
              className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
            >
              {Array.from({ length: layers }, (_, i) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a layer is its number
                <option key={i}>{i}</option>
              ))}
            </select>
          </label>
        </form>
      )}
      {!running && <ExplainProgressLine />}
      {request && (
        <Command lead="Or in a terminal, with a language model too:" text={toCommand(model, request)} />
      )}
    </Absent>
  );
}
