import { expect, test } from "vitest";
import type { TrainPoint } from "../../api/types";
import { CHARTS, type ChartInfo, marksOf, type Run, runsOf, seriesOf } from "./runs";

const row = (part: Partial<TrainPoint>): TrainPoint =>
  ({
    tokens: 10,
    loss: 1,
    reconstruction: 1,
    sparsity: 0,
    auxiliary: 0,
    resampled: 0,
    ...part,
  }) as TrainPoint;
const run = (name: string, points: TrainPoint[]): Run => ({
  key: `t/${name}`,
  training: "t",
  name,
  colour: "var(--run-1)",
  points,
});
const LOSS = CHARTS.find(({ title }) => title === "Loss") as ChartInfo;

test("a loss has the lines of the parts that it has", () => {
  const plain = seriesOf(LOSS, [run("topk", [row({}), row({ tokens: 20 })])]);
  expect(plain.map(({ part }) => part)).toEqual(["loss"]);
  const penalised = seriesOf(LOSS, [run("relu", [row({ loss: 3, sparsity: 2 })])]);
  expect(penalised.map(({ part, label }) => `${part}: ${label}`)).toEqual([
    "loss: whole",
    "reconstruction: reconstruction",
    "sparsity: sparsity",
  ]);
});

test("lines of several are told apart by their names", () => {
  const series = seriesOf(CHARTS[1] as ChartInfo, [run("a", [row({ fvu: 1 })]), run("b", [row({ fvu: 2 })])]);
  expect(series.map(({ label, line }) => [label, line.y])).toEqual([
    ["a", [1]],
    ["b", [2]],
  ]);
});

test("resampling is marked where it happened", () => {
  const marks = marksOf([run("a", [row({}), row({ tokens: 20, resampled: 7 })])]);
  expect(marks.map(({ x, text }) => [x, text])).toEqual([[20, "7 latents resampled"]]);
});

test("each autoencoder of each training has a colour of its own", () => {
  const trainings = [
    { name: "one", runs: ["a", "b"], log: new Map([["a", [row({})]]]) },
    { name: "two", runs: ["a"], log: new Map() },
  ];
  const runs = runsOf(trainings);
  expect(runs.map(({ key }) => key)).toEqual(["one/a", "one/b", "two/a"]);
  expect(runs.map(({ points }) => points.length)).toEqual([1, 0, 0]);
  expect(new Set(runs.map(({ colour }) => colour)).size).toBe(3);
});
