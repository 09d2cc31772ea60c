import { expect, test } from "vitest";
import { citedParts, citedRow } from "./cited";

test("citations of one row, of several and of a range are told apart from the text", () => {
  expect(citedParts("It reads it [2] and passes it on [1, 4–6].")).toEqual([
    { text: "It reads it ", rows: [] },
    { text: "[2]", rows: [2] },
    { text: " and passes it on ", rows: [] },
    { text: "[1, 4–6]", rows: [1, 4, 5, 6] },
    { text: ".", rows: [] },
  ]);
  expect(citedParts("tokens like [a] or [] cite nothing")).toHaveLength(1);
});

test("a row has its number, and the nodes that it names", () => {
  const row = citedRow("[7] it passes on, for D, +0.82 from attn.4.1@13<-9, not attn.4.1 alone");
  expect(row.number).toBe(7);
  expect(row.parts.filter(({ node }) => node).map(({ text }) => text)).toEqual(["attn.4.1@13<-9"]);
  expect(row.parts.map(({ text }) => text).join("")).toBe(
    "it passes on, for D, +0.82 from attn.4.1@13<-9, not attn.4.1 alone",
  );
});
