import { expect, test } from "vitest";
import { activationOpacity } from "./scale";
import { pointedTones, restingTones, toneBackground } from "./twoTones";

const PAIRS = [[0.1], [2, 0], [1, 4, 0.5]];
const IN = [0.1, 2, 4];
const OUT = [2, 4, 0.5];

test("at rest a token has the most it gives and the most it receives, each by its own largest", () => {
  const tones = restingTones(OUT, [0.1, 2, 8]);
  expect(tones[1]).toEqual({ to: 1, from: activationOpacity(2, 8) });
  expect(tones[2]).toEqual({ to: activationOpacity(0.5, 4), from: 1 });
});

test("pointed at, a token is light blue and those that attend to it are pink", () => {
  expect(pointedTones(PAIRS, 0, "from")).toEqual([
    { to: activationOpacity(2, 4), from: activationOpacity(0.1, 4) },
    { to: 0, from: activationOpacity(2, 4) },
    { to: 0, from: activationOpacity(1, 4) },
  ]);
  // What comes before the token cannot attend to it.
  expect(pointedTones(PAIRS, 1, "from").map(({ from }) => from)).toEqual([0, 0, 1]);
});

test("the other way round it is pink and what it attends to is light blue", () => {
  expect(pointedTones(PAIRS, 2, "to")).toEqual([
    { to: activationOpacity(1, 4), from: 0 },
    { to: 1, from: 0 },
    { to: activationOpacity(0.5, 4), from: 1 },
  ]);
  expect(pointedTones(PAIRS, 0, "to").map(({ to }) => to)).toEqual([activationOpacity(0.1, 4), 0, 0]);
});

test("the largest of the pairs are what the resting colours show", () => {
  const rest = restingTones(OUT, IN);
  expect(pointedTones(PAIRS, 1, "from")[1]?.to).toBe(rest[1]?.to);
  expect(pointedTones(PAIRS, 1, "to")[1]?.from).toBe(rest[1]?.from);
});

test("a text without any value stays plain", () => {
  expect(pointedTones([[0], [0, 0]], 0, "from")).toEqual([
    { to: 0, from: 0 },
    { to: 0, from: 0 },
  ]);
  expect(toneBackground({ to: 0, from: 0 })).toBeUndefined();
});

test("two colours share the token, one has it whole", () => {
  expect(toneBackground({ to: 1, from: 0 })).toContain("--attended");
  expect(toneBackground({ to: 0, from: 1 })).toContain("--attending");
  expect(toneBackground({ to: 1, from: 0.5 })).toMatch(/^linear-gradient\(.*--attended.*--attending/);
});
