import type { NodeEffect, Question } from "../../api/types";
import type { View } from "../../url/view";

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

/** The rows as CSV with a header, in full precision; what is not there is an empty field. */
export function toCsv(nodes: readonly NodeEffect[]): string {
  const lines = nodes.map((node) => FIELDS.map((field) => csvField(node[field])).join(","));
  return `${[FIELDS.join(","), ...lines].join("\r\n")}\r\n`;
}

function csvField(value: string | number | null | undefined): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A Python program that asks the same question and prints the same table. */
export function toPython(model: string, question: Question, view: View): string {
  const asked = [
    pythonText(question.prompt),
    named("target", question.targets.map(pythonText)),
    named("distractor", question.distractors.map(pythonText)),
    question.position === null ? "" : `position=${question.position}`,
    question.bos ? "bos=True" : "",
  ].filter(Boolean);
  const listed = [
    `top=${view.top}`,
    many("kinds", view.kinds.map(pythonText)),
    many("layers", view.layers),
    many("positions", view.positions),
    many("sources", view.sources),
  ].filter(Boolean);
  return [
    "import clew",
    "",
    `model = clew.load(${pythonText(model)})`,
    "run = model.debug(",
    ...asked.map((argument) => `    ${argument},`),
    ")",
    "print(run.direction)",
    "print(run.candidates(10))",
    "print(run.accounting())",
    `print(run.nodes(${listed.join(", ")}))`,
    "",
  ].join("\n");
}

function named(name: string, texts: string[]): string {
  if (texts.length === 0) return "";
  return `${name}=${texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`}`;
}

function many(name: string, values: readonly (string | number)[]): string {
  return values.length ? `${name}=[${values.join(", ")}]` : "";
}

/** A JSON string is a Python string too: both know the same escapes, and JSON uses no other. */
function pythonText(text: string): string {
  return JSON.stringify(text).replaceAll("\u007f", "\\u007f");
}

export function download(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
