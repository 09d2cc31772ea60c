import { expect, test } from "vitest";
import type { Score } from "../api/types";
import { beats, hardest, headlineOf, inFull, latestScores, scoreText, textsText, writtenText } from "./score";
import { shellText } from "./shell";

function score(part: Partial<Score>): Score {
  return {
    scorer: "simulation",
    split: "test",
    llm: "lookup",
    method: "lookup",
    prompt: "lookup-1",
    value: 0.5,
    low: 0.25,
    high: 0.75,
    tokens: 640,
    texts: { top: 5, random: 5, near_miss: 1 },
    failures: [],
    measures: {},
    baselines: [
      { name: "table", value: 0.4 },
      { name: "mean", value: null },
      { name: "shuffled", value: -0.1 },
    ],
    cost: { requests: 0, known: 0, prompt_tokens: 0, completion_tokens: 0, money: null },
    seed: 0,
    strips: [],
    id: 1,
    created: null,
    ...part,
  };
}

test("only what can be below zero has a sign", () => {
  expect(scoreText("simulation", 0.5)).toBe("+0.500");
  expect(scoreText("ablation", -0.5)).toBe("−0.500");
  expect(scoreText("detection", 0.5)).toBe("0.500");
  expect(scoreText("pairs", null)).toBe("–");
});

test("the last score of each scorer and judge counts", () => {
  const old = score({ id: 1, value: 0.1 });
  const now = score({ id: 4, value: 0.2 });
  const other = score({ id: 2, llm: "gpt", method: "json" });
  const detection = score({ id: 9, scorer: "detection", method: null });
  expect(latestScores([detection, old, now, other])).toEqual([now, other, detection]);
});

test("the headline is a defined score on the test split, by the first scorer that has one", () => {
  const undefinedOne = score({ id: 3, value: null });
  const detection = score({ id: 2, scorer: "detection" });
  const validated = score({ id: 5, split: "validate" });
  expect(headlineOf({ scores: [detection, undefinedOne, validated] })).toBe(detection);
  expect(headlineOf({ scores: [undefinedOne] })).toBe(undefinedOne);
  expect(headlineOf({ scores: [validated] })).toBeNull();
});

test("words are held against the baseline that is hardest to beat", () => {
  expect(hardest(score({}))).toEqual({ name: "table", value: 0.4 });
  expect(beats(score({}))).toBe(true);
  expect(beats(score({ value: 0.4 }))).toBe(false);
  expect(beats(score({ value: null }))).toBeNull();
  expect(beats(score({ baselines: [] }))).toBeNull();
});

test("a score in full never leaves out its texts, failures and baselines", () => {
  expect(textsText(score({}))).toBe("11 texts (5 top, 5 random, 1 near miss)");
  expect(textsText({ texts: { top: 1 } })).toBe("1 text (1 top)");
  const told = inFull(score({ failures: [{ kind: "malformed", message: "no JSON" }] }));
  expect(told).toContain("+0.500 (95%: +0.250 to +0.750)");
  expect(told).toContain("1 failed");
  expect(told).toContain("table +0.400, mean –, shuffled −0.100");
});

test("who wrote words is told with what they were found from", () => {
  expect(writtenText({ llm: "lookup", variant: "tokens" })).toBe("token statistics, no language model");
  expect(writtenText({ llm: "you", variant: "written" })).toBe("written by you");
  expect(writtenText({ llm: "m@http://x/v1", variant: "contrast" })).toBe(
    "m@x, from examples against near misses",
  );
});

test("a command quotes what a shell would take apart", () => {
  expect(shellText("neuron.5.0-199")).toBe("neuron.5.0-199");
  expect(shellText("neuron.5.*")).toBe("'neuron.5.*'");
  expect(shellText("it's $HOME")).toBe(`'it'\\''s $HOME'`);
});
