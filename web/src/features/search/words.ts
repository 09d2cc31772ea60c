import type { Explanation, WordsSearch } from "../../api/types";
import { csvText } from "../../format/csv";
import { args, many, pythonText } from "../../format/python";
import { hardest, headlineOf, textsOf } from "../../format/score";
import { PAGE, type SearchView } from "../../url/searchView";

/** What a search by words asks for; without words the best scores come first. */
export function wordsAsked(view: SearchView): WordsSearch {
  const { words, kinds, layers, by, score, sort } = view;
  // Nothing is near to no words.
  const near = words.trim() === "" ? null : view.near;
  const wished = sort === "score" || sort === "relevance" ? sort : null;
  return {
    q: words,
    embed: near,
    kinds: kinds.length ? kinds : null,
    layers: layers.length ? layers : null,
    llm: by,
    min_score: score,
    sort: near !== null ? "relevance" : words === "" ? "score" : (wished ?? "relevance"),
  };
}

/** The rows as CSV with a header, in full precision: each score beside what it rests on. */
export function wordsCsv(rows: readonly Explanation[]): string {
  return csvText(
    [
      "component",
      "text",
      "llm",
      "variant",
      "density",
      "scorer",
      "judge",
      "score",
      "low",
      "high",
      "baseline",
      "texts",
      "failed",
    ],
    rows.map((row) => {
      const score = headlineOf(row);
      const own = [row.component, row.text, row.llm, row.variant, row.density];
      if (!score) return [...own, null, null, null, null, null, null, null, null];
      const { scorer, llm, value, low, high, failures } = score;
      return [...own, scorer, llm, value, low, high, hardest(score)?.value, textsOf(score), failures.length];
    }),
  );
}

/** A Python program that prints the same page of the same search. */
export function wordsPython(model: string, view: SearchView): string {
  const { q = "", embed, kinds, layers, llm, min_score, sort } = wordsAsked(view);
  const among = [
    `model=${pythonText(model)}`,
    many("kinds", (kinds ?? []).map(pythonText)),
    many("layers", layers ?? []),
    llm ? `llm=${pythonText(llm)}` : "",
    min_score === null || min_score === undefined ? "" : `min_score=${min_score}`,
  ];
  const offset = view.page > 0 ? `offset=${view.page * PAGE}` : "";
  const lines = embed
    ? [
        "from clew.explain.llm.embedding import Embedding",
        "from clew.explain.store.explanations import Explanations",
        "from clew.explain.store.similarity import embed, similar",
        "",
        "kept = Explanations()",
        `embedding = Embedding(${pythonText(embed)})`,
        `embed(kept, embedding, model=${pythonText(model)})`,
        `found = similar(${args("kept", pythonText(q), "embedding", ...among, offset)})`,
      ]
    : [
        "from clew.explain.store.explanations import Explanations",
        "from clew.explain.store.search import search",
        "",
        `found = search(${args("Explanations()", pythonText(q), ...among, `sort=${pythonText(sort ?? "relevance")}`, offset)})`,
      ];
  return [...lines, "print(found.total)", "print(found)", ""].join("\n");
}
