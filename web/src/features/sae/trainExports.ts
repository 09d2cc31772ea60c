import type { RecipeRequest } from "../../api/types";
import { pythonText } from "../../format/python";
import type { TrainForm } from "../../url/trainForm";
import { DEFAULTS, hasK, type Plan } from "./plan";

/** The command that trains the same. */
export function trainCommand(model: string, { recipes, request, name }: Plan, form: TrainForm): string {
  const each = <T>(of: (recipe: RecipeRequest) => T | null) =>
    [...new Set(recipes.map(of))].filter((value): value is NonNullable<typeof value> => value !== null);
  const words = ["clew", "sae", "train", quoted(model)];
  const give = (option: string, values: readonly (string | number)[]) => {
    for (const value of values) words.push(option, quoted(String(value)));
  };
  give(
    "--site",
    each(({ site }) => site),
  );
  give(
    "--latents",
    each(({ latents }) => latents),
  );
  give(
    "--architecture",
    each(({ architecture }) => architecture),
  );
  give(
    "--k",
    each(({ architecture, k }) => (hasK(architecture) && (k !== DEFAULTS.k || form.k.trim()) ? k : null)),
  );
  give(
    "--sparsity",
    each(({ sparsity }) => sparsity),
  );
  give(
    "--writes",
    each(({ writes }) => writes),
  );
  if (recipes.some(({ skip }) => skip)) words.push("--skip-term");
  if (form.loss !== "2023" && recipes.some(({ architecture }) => architecture === "relu"))
    give("--loss", [form.loss]);
  give(
    "--lr",
    each(({ learning_rate }) => learning_rate),
  );
  if (!form.resample) words.push("--no-resample");
  if (request) {
    if (request.corpus !== null) give("--corpus", [request.corpus]);
    give("--tokens", [request.tokens]);
    for (const option of ["batch", "context", "buffer", "warmup", "decay", "clip", "seed"] as const)
      if (request[option] !== DEFAULTS[option]) give(`--${option}`, [request[option]]);
    if (request.save_every !== DEFAULTS.save) give("--save-every", [request.save_every]);
    if (request.bos) words.push("--bos");
    if (request.replace) words.push("--replace");
  }
  if (form.name.trim()) give("--out", [name]);
  return words.join(" ");
}

/** A word of a shell's command. */
function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A Python program that trains the same. */
export function trainPython(model: string, { recipes, request, name }: Plan): string {
  const lines = recipes.map((recipe) => {
    const parts = [
      `parse_site(${pythonText(recipe.site)})`,
      String(recipe.latents),
      pythonText(recipe.architecture),
    ];
    if (hasK(recipe.architecture)) parts.push(`k=${recipe.k}`);
    if (recipe.sparsity !== null) parts.push(`sparsity=${recipe.sparsity}`);
    if (recipe.loss !== "2023" && recipe.architecture === "relu")
      parts.push(`loss=${pythonText(recipe.loss)}`);
    if (recipe.learning_rate !== null) parts.push(`learning_rate=${recipe.learning_rate}`);
    if (recipe.writes !== null) parts.push(`writes=parse_site(${pythonText(recipe.writes)})`);
    if (recipe.skip) parts.push("skip=True");
    if (!recipe.resample) parts.push("resample=False");
    return `    Recipe(${parts.join(", ")}),`;
  });
  const settings = [`tokens=${request?.tokens ?? DEFAULTS.tokens}`];
  if (request) {
    for (const option of ["batch", "context", "buffer", "warmup", "decay", "clip", "seed"] as const)
      if (request[option] !== DEFAULTS[option]) settings.push(`${option}=${request[option]}`);
    if (request.save_every !== DEFAULTS.save) settings.push(`save_every=${request.save_every}`);
    if (request.bos) settings.push("bos=True");
  }
  return `${[
    "import clew",
    "from clew import settings",
    "from clew.nodes import parse_site",
    "from clew.sae import Recipe, TrainingPlan, train",
    "",
    `model = clew.load(${pythonText(model)})`,
    "recipes = (",
    ...lines,
    ")",
    `plan = TrainingPlan(recipes, ${settings.join(", ")})`,
    `corpus = ${request?.corpus == null ? "None  # the text that ships with Python" : pythonText(request.corpus)}`,
    `autoencoders = train(model, plan, corpus, settings.saes_folder() / ${pythonText(name)})`,
  ].join("\n")}\n`;
}

/** A Python program that reads a training's log. */
export function logPython(name: string): string {
  return `${[
    "from clew import settings",
    "from clew.sae.training import read_log, state_of",
    "",
    `folder = settings.saes_folder() / ${pythonText(name)}`,
    "print(state_of(folder))",
    "print(read_log(folder).to_pandas())",
  ].join("\n")}\n`;
}
