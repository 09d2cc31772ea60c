import { expect, test } from "vitest";
import { readTrainForm, type TrainForm } from "../../url/trainForm";
import { planOf } from "./plan";
import { trainCommand, trainPython } from "./trainExports";

const MODEL = { name: "smollm2", n_layers: 30, n_neurons: 1536, d_model: 576 };

function spelled(part: Partial<TrainForm>) {
  const form = { ...readTrainForm(""), ...part };
  const plan = planOf(form, MODEL, []);
  return { command: trainCommand("smollm2", plan, form), program: trainPython("smollm2", plan).split("\n") };
}

test("the command asks for what the form does, and leaves defaults out", () => {
  expect(spelled({}).command).toBe(
    "clew sae train smollm2 --site mlp_out.10 --latents 4608 --architecture topk --tokens 1000000",
  );
  const full = spelled({
    sites: ["mlp_in.3"],
    latents: "1k, 2k",
    architectures: ["topk", "relu"],
    k: "16",
    sparsity: "5",
    writes: "mlp_out.3",
    skip: true,
    loss: "2024",
    resample: false,
    rate: "1e-3",
    tokens: "300k",
    corpus: "./it’s mine",
    save: "50k",
    name: "mine",
  });
  expect(full.command).toBe(
    "clew sae train smollm2 --site mlp_in.3 --latents 1000 --latents 2000 --architecture topk --architecture relu " +
      "--k 16 --sparsity 5 --writes mlp_out.3 --skip-term --loss 2024 --lr 0.001 --no-resample " +
      "--corpus './it’s mine' --tokens 300000 --save-every 50000 --out mine",
  );
});

test("the program makes the same recipes", () => {
  const { program } = spelled({ architectures: ["topk", "jumprelu"], sparsity: "2", batch: "512" });
  expect(program.slice(6, 12)).toEqual([
    "recipes = (",
    '    Recipe(parse_site("mlp_out.10"), 4608, "topk", k=32),',
    '    Recipe(parse_site("mlp_out.10"), 4608, "jumprelu", sparsity=2),',
    ")",
    "plan = TrainingPlan(recipes, tokens=1000000, batch=512)",
    "corpus = None  # the text that ships with Python",
  ]);
});
