import type { TrainPoint } from "../../api/types";
import { amount, percent } from "../../format/number";
import type { Mark, Series } from "./LineChart";
import type { Log } from "./log";

/** An autoencoder that learns, or did: its log and how it is drawn. */
export interface Run {
  /** TRAINING/NAME: unlike any other's, and its name among the autoencoders. */
  key: string;
  training: string;
  name: string;
  colour: string;
  points: readonly TrainPoint[];
}

/** As many as styles.css has colours for; then they begin anew. */
const COLOURS = 8;

/** The autoencoders of some trainings, in their order. */
export function runsOf(
  trainings: readonly { name: string; runs: readonly string[]; log: Log }[],
): readonly Run[] {
  return trainings
    .flatMap(({ name: training, runs, log }) =>
      runs.map((name) => ({ key: `${training}/${name}`, training, name, points: log.get(name) ?? [] })),
    )
    .map((run, i) => ({ ...run, colour: `var(--run-${(i % COLOURS) + 1})` }));
}

interface Part {
  key: string;
  label: string;
  dash?: string;
  of: (point: TrainPoint) => number | null;
}

export interface ChartInfo {
  title: string;
  about: string;
  show: (value: number) => string;
  /** How the axis writes a value; undefined: as any number. */
  axis?: (value: number) => string;
  /** Whether the choice of a logarithmic axis is for it too. */
  loggable: boolean;
  floor?: number;
  nothing: string;
  dots?: boolean;
  /** More than one: each run has as many lines, told apart by their strokes. */
  parts: readonly Part[];
}

const WAITING = "The first row of the log is on its way.";

export const CHARTS: readonly ChartInfo[] = [
  {
    title: "Loss",
    about: "what training makes small, and its weighted parts",
    show: amount,
    loggable: true,
    floor: 0,
    nothing: WAITING,
    parts: [
      { key: "loss", label: "whole", of: ({ loss }) => loss },
      {
        key: "reconstruction",
        label: "reconstruction",
        dash: "5 2",
        of: ({ reconstruction }) => reconstruction,
      },
      { key: "sparsity", label: "sparsity", dash: "1.5 2", of: ({ sparsity }) => sparsity },
      { key: "auxiliary", label: "auxiliary", dash: "6 2 1.5 2", of: ({ auxiliary }) => auxiliary },
    ],
  },
  {
    title: "FVU",
    about: "share of variance that is not reconstructed: 0 perfect, 1 the mean",
    show: amount,
    loggable: true,
    floor: 0,
    nothing: WAITING,
    parts: [{ key: "fvu", label: "FVU", of: ({ fvu }) => fvu }],
  },
  {
    title: "L0",
    about: "latents that fire on a token",
    show: amount,
    loggable: true,
    floor: 0,
    nothing: WAITING,
    parts: [{ key: "l0", label: "L0", of: ({ l0 }) => l0 }],
  },
  {
    title: "CE recovered",
    about: "of the model’s loss without the site: 100% as if untouched",
    show: percent,
    axis: (value) => `${Number((100 * value).toPrecision(3))}%`.replace("-", "−"),
    loggable: false,
    nothing: "Measured at each saving; none has come yet.",
    dots: true,
    parts: [{ key: "ce", label: "CE recovered", of: ({ ce_recovered }) => ce_recovered }],
  },
  {
    title: "Dead latents",
    about: "silent for long; nearly dead: on under one token in a million",
    show: amount,
    loggable: false,
    floor: 0,
    nothing: WAITING,
    parts: [
      { key: "dead", label: "dead", of: ({ dead }) => dead },
      { key: "nearly", label: "nearly dead", dash: "2 2", of: ({ nearly_dead }) => nearly_dead },
    ],
  },
  {
    title: "Learning rate",
    about: "warms up, holds, goes down to zero",
    show: amount,
    loggable: false,
    floor: 0,
    nothing: WAITING,
    parts: [{ key: "rate", label: "learning rate", of: ({ learning_rate }) => learning_rate }],
  },
];

/**
 * The lines of one chart. A part that is zero throughout, such as a penalty that a recipe has not, is left out, and so is
 * one that is all there is of the whole.
 */
export function seriesOf({ parts, dots }: ChartInfo, runs: readonly Run[]): Series[] {
  const several = parts.length > 1;
  return runs.flatMap(({ key, name, colour, points }) => {
    const x = points.map(({ tokens }) => tokens);
    const whole = parts[0] ? points.map(parts[0].of) : [];
    return parts.flatMap((part, i) => {
      const y = points.map(part.of);
      const alike =
        y.every((value) => value === 0 || value === null) || y.every((value, j) => value === whole[j]);
      if (i > 0 && alike) return [];
      const words = [
        ...(runs.length > 1 ? [name] : []),
        ...(several || runs.length === 1 ? [part.label] : []),
      ];
      return [
        {
          key: `${key} ${part.key}`,
          run: key,
          part: part.key,
          label: words.join(", "),
          colour,
          dash: part.dash,
          line: { x, y },
          dots,
        },
      ];
    });
  });
}

/** When latents were given new weights. */
export function marksOf(runs: readonly Run[]): Mark[] {
  return runs.flatMap(({ key, name, colour, points }) =>
    points
      .filter(({ resampled }) => resampled > 0)
      .map(({ tokens, resampled }) => ({
        key: `${key} ${tokens}`,
        x: tokens,
        colour,
        text: `${runs.length > 1 ? `${name}: ` : ""}${resampled} latents resampled`,
      })),
  );
}
