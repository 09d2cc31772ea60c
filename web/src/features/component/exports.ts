import { args, opened, pythonText } from "../../format/python";
import type { Asked } from "../../url/route";

/** A Python program that prints what a component's page shows. */
export function toPython(
  model: string,
  id: string,
  asked: Asked | null,
  autoencoders: readonly string[],
): string {
  const name = pythonText(id);
  const lines = [
    "import clew",
    "",
    `model = clew.load(${pythonText(model)})`,
    opened(autoencoders),
    `print(components.component(${name}))`,
    `print(components.weights(${name}))`,
  ];
  if (asked)
    lines.push(
      `print(components.on_prompt(${args(name, pythonText(asked.prompt), asked.bos ? "bos=True" : "")}))`,
    );
  return `${lines.join("\n")}\n`;
}
