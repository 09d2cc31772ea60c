import { expect, test } from "vitest";
import type { TrainPoint } from "../../api/types";
import { added, lastStep, NO_LOG } from "./log";

const row = (run: string, step: number, loss = 0) => ({ run, step, loss }) as TrainPoint;

test("rows are told apart by their autoencoder and come after those that are there", () => {
  const first = added(NO_LOG, [row("a", 10), row("b", 10), row("a", 20), row("b", 20)]);
  const log = added(first, [row("a", 30)]);
  expect(log.get("a")?.map(({ step }) => step)).toEqual([10, 20, 30]);
  expect(log.get("b")?.map(({ step }) => step)).toEqual([10, 20]);
  expect(lastStep(log)).toBe(20);
  expect(lastStep(NO_LOG)).toBeNull();
  expect(added(log, [])).toBe(log);
});

test("what a training did after its checkpoint gives way to what it does now", () => {
  const before = added(NO_LOG, [row("a", 10), row("a", 20), row("a", 30)]);
  const log = added(before, [row("a", 20, 1), row("a", 30, 1)]);
  expect(log.get("a")).toEqual([row("a", 10), row("a", 20, 1), row("a", 30, 1)]);
});
