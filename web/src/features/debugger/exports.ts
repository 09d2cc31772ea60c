import type { Direction, NodeEffect, Question } from "../../api/types";
import { csvText } from "../../format/csv";
import { args, many, pythonList, pythonText } from "../../format/python";
import type { Column, View } from "../../url/view";
import { noVerify } from "./edits";
import { type Row, valueIn } from "./nodeRows";
import { readStep } from "./trace";

const FIELDS = [
  "id",
  "kind",
  "layer",
  "index",
  "position",
  "source",
  "activation",
  "write_norm",
  "direct_effect",
  "estimated_effect",
  "verified_effect",
] as const satisfies readonly (keyof NodeEffect)[];

const SIDES = [
  "direct_left",
  "direct_difference",
  "direct_right",
  "estimated_left",
  "estimated_difference",
  "estimated_right",
] as const satisfies readonly Column[];

/** The rows as CSV with a header, in full precision, a comparison with both its sides; what is not there is empty. */
export function toCsv(rows: readonly Row[]): string {
  const sides = rows.some((row) => row.change !== null) ? SIDES : [];
  return csvText(
    [...FIELDS, ...sides],
    rows.map((row) => [...FIELDS.map((field) => row[field]), ...sides.map((side) => valueIn(row, side))]),
  );
}

/**
 * A Python program that makes the whole investigation and prints the same numbers.
 *
 * `direction` is the answer's: the second prompt is asked about the same tokens, also where the first one chose them.
 */
export function toPython(
  model: string,
  question: Question,
  view: View,
  direction: Pick<Direction, "targets" | "distractors">,
): string {
  const { second, edits, alignment, trace } = question;
  // Part of a character has no text of its own, and shows as U+FFFD, which is another token.
  const spelled = ({ id, text }: { id: number; text: string }) =>
    text.includes("\ufffd") ? String(id) : pythonText(text);
  const bos = question.bos ? "bos=True" : "";
  const patches = edits.some((edit) => edit.startsWith("patch:"));
  const resampled = view.ablation === "resample" && (view.verify !== null || view.measured.length > 0);
  const aligned = alignment ? `alignment=${pythonList(alignment.map((to) => to ?? "None"))}` : "";
  const uses = second !== null && (patches || resampled || view.compare === "second" || view.sweep);
  const attached = question.autoencoders.length
    ? `.attach(${args(...question.autoencoders.map(pythonText))})`
    : "";
  const lines = [
    "import clew",
    "",
    `model = clew.load(${pythonText(model)})${attached}`,
    debug("run", question.prompt, [
      named("target", question.targets.map(pythonText)),
      named("distractor", question.distractors.map(pythonText)),
      question.position === null ? "" : `position=${question.position}`,
      bos,
    ]),
  ];
  if (uses)
    lines.push(
      debug("second", second.prompt, [
        named("target", direction.targets.map(spelled)),
        named("distractor", direction.distractors.map(spelled)),
        second.position === null || second.position === undefined ? "" : `position=${second.position}`,
        bos,
      ]),
    );
  const paired = ["second=second", aligned];
  if (edits.length)
    lines.push(`run = run.edit(${args(...edits.map(pythonText), ...(patches ? paired : []))})`);
  lines.push("print(run.direction)", "print(run.candidates(10))");
  // A comparison is of what is explained, so it comes after the trace.
  const steps = trace.map((text) => {
    const { node, through } = readStep(text);
    return `run = run.trace(${args(pythonText(node), `through=${pythonText(through)}`)})`;
  });
  lines.push(...steps, "print(run.accounting())");
  if (view.compare !== "second" && edits.length) lines.push("print(run.compare())");
  if (view.compare === "second" && uses) lines.push(`print(run.compare(${args("second", aligned)}))`);
  const how = [
    view.ablation === "zero" ? "" : `ablation=${pythonText(view.ablation)}`,
    view.renormalise ? "renormalise=True" : "",
    ...(resampled ? ["other=second", aligned] : []),
  ];
  const measured = view.measured.filter((id) => noVerify(id, view.ablation) === null);
  if (view.verify !== null) lines.push(`print(run.verify(${args(`top=${view.verify}`, ...how)}))`);
  if (measured.length)
    lines.push(`print(run.verify(${args(many("nodes", measured.map(pythonText)), ...how)}))`);
  const listed = args(
    `top=${view.top}`,
    many("kinds", view.kinds.map(pythonText)),
    many("layers", view.layers),
    many("positions", view.positions),
    many("sources", view.sources),
  );
  lines.push(`print(run.nodes(${listed}))`);
  if (view.sweep && uses) lines.push(`print(run.sweep(${args("second", aligned)}))`);
  if (view.generate) {
    const { n, temperature, seed } = view.sampling;
    const drawn = Number.isInteger(temperature) ? temperature.toFixed(1) : String(temperature);
    lines.push(`print(run.generate(${n}, temperature=${drawn}, seed=${seed}))`);
  }
  return `${lines.join("\n")}\n`;
}

function debug(name: string, prompt: string, more: readonly string[]): string {
  const asked = [pythonText(prompt), ...more].filter(Boolean);
  return `${name} = model.debug(\n${asked.map((argument) => `    ${argument},\n`).join("")})`;
}

function named(name: string, texts: string[]): string {
  if (texts.length === 0) return "";
  return `${name}=${texts.length === 1 ? texts[0] : pythonList(texts)}`;
}
