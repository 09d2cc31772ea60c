import { useState } from "react";
import type { Model } from "../../api/types";
import { Button } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { SITES, siteProblem } from "./plan";

/** The sites that are chosen, each with a way to take it off, and a picker for more. */
export function SitePicker({
  sites,
  model,
  transcoder,
  onChange,
}: {
  sites: readonly string[];
  model: Model;
  transcoder: boolean;
  onChange: (sites: string[]) => void;
}) {
  const [name, setName] = useState("mlp_out");
  const [layer, setLayer] = useState(String(Math.floor(model.n_layers / 3)));
  const site = `${name}.${layer.trim()}`;
  const problem =
    siteProblem(site, model, transcoder) ?? (sites.includes(site) ? `${site} is among them already` : null);
  const choices = transcoder ? [...SITES, ["mlp_in", "MLP input", "what the MLP is given"] as const] : SITES;
  return (
    <div className="flex flex-col gap-1.5">
      {sites.length > 0 && (
        <ul aria-label="Sites" className="flex flex-wrap gap-1">
          {sites.map((one) => {
            const wrong = siteProblem(one, model, transcoder);
            return (
              <li key={one}>
                <Button
                  aria-label={`Remove the site ${one}`}
                  title={wrong ?? "Take it off"}
                  className={wrong ? "border-bad! text-bad!" : "text-ink!"}
                  onClick={() => onChange(sites.filter((other) => other !== one))}
                >
                  <span className="font-mono">{one}</span>
                  <Icon name="cross" size={11} />
                </Button>
              </li>
            );
          })}
        </ul>
      )}
      <form
        aria-label="Add a site"
        className="flex flex-wrap items-center gap-1.5"
        onSubmit={(event) => {
          event.preventDefault();
          if (problem === null) onChange([...sites, site]);
        }}
      >
        <select
          aria-label="What it reads"
          value={name}
          onChange={(event) => setName(event.target.value)}
          className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
        >
          {choices.map(([value, label, title]) => (
            <option key={value} value={value} title={title}>
              {label}
            </option>
          ))}
        </select>
        <label className="flex items-center gap-1 text-xs text-ink-2">
          of layer
          <input
            type="number"
            min={0}
            max={model.n_layers - 1}
            value={layer}
            onChange={(event) => setLayer(event.target.value)}
            className="num h-6.5 w-14 rounded border border-line-strong bg-page px-1.5 text-xs text-ink"
          />
        </label>
        <Button type="submit" disabled={problem !== null} title={problem ?? `Adds ${site}`}>
          Add site
        </Button>
      </form>
    </div>
  );
}
