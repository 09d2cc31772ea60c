import { useState } from "react";
import { recall, remember } from "../../components/storage";
import { FIRST_RECIPE, type Recipe } from "./request";

const KEY = "clew.explain";

/** How components are to be explained; this browser remembers it. */
export function useRecipe(): [Recipe, (part: Partial<Recipe>) => void] {
  const [recipe, setRecipe] = useState<Recipe>(remembered);
  const change = (part: Partial<Recipe>) => {
    const next = { ...recipe, ...part };
    remember(KEY, JSON.stringify(next));
    setRecipe(next);
  };
  return [recipe, change];
}

function remembered(): Recipe {
  try {
    const known = JSON.parse(recall(KEY) ?? "{}");
    // What an older page wrote may be of another shape: only what fits is taken.
    const fitting = Object.entries(FIRST_RECIPE).filter(
      ([name, value]) => name in known && Array.isArray(known[name]) === Array.isArray(value),
    );
    const kept = Object.fromEntries(fitting.map(([name]) => [name, known[name]]));
    // To do again what is done is a wish of the moment.
    return { ...FIRST_RECIPE, ...kept, redo: false };
  } catch {
    return FIRST_RECIPE;
  }
}
