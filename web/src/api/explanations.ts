import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Chosen } from "../url/params";
import { useChosen } from "../url/useChosen";
import { api } from "./client";
import type { Explanation, Source, WordsSearch } from "./types";

/** Everything that a new explanation or score would answer otherwise begins with this. */
export const EXPLAINED = "explanations";
/** Components that the server tells the best explanation of at once. */
const AT_ONCE = 1000;

/** What can be asked for words. */
export function useLLMs() {
  return useQuery({ queryKey: ["llms"], queryFn: ({ signal }) => api.llms(signal) });
}

/** All explanations of a component, newest first; null: of none. `opened` as for `useBest`. */
export function useExplanations(id: string | null, opened?: Chosen) {
  const chosen = useChosen();
  const among = opened ?? chosen;
  return useQuery({
    queryKey: [EXPLAINED, "of", id, among],
    queryFn: ({ signal }) => api.explanations(id as string, among, signal),
    enabled: id !== null,
    // A terminal may have added some since.
    staleTime: 0,
  });
}

const NOTHING: ReadonlyMap<string, Explanation> = new Map();

/**
 * The best explanation of each of some components that has one, by its id; what was known while more are asked for.
 *
 * No language model is asked. `opened`: the autoencoders whose latents are meant, by default those of the address.
 */
export function useBest(ids: readonly string[], opened?: Chosen): ReadonlyMap<string, Explanation> {
  const chosen = useChosen();
  const among = opened ?? chosen;
  const wanted = useMemo(() => [...new Set(ids)].sort(), [ids]);
  const found = useQuery({
    queryKey: [EXPLAINED, "best", wanted, among],
    queryFn: async ({ signal }) => {
      const parts = Array.from({ length: Math.ceil(wanted.length / AT_ONCE) }, (_, i) =>
        wanted.slice(i * AT_ONCE, (i + 1) * AT_ONCE),
      );
      const answers = await Promise.all(parts.map((part) => api.bestExplanations(part, among, signal)));
      return new Map(answers.flatMap(({ rows }) => rows.map((row) => [row.component, row] as const)));
    },
    enabled: wanted.length > 0,
    placeholderData: keepPreviousData,
  });
  return found.data ?? NOTHING;
}

/** The texts of a scoring, real against simulated. */
export function useScoredTexts(score: number | null) {
  return useQuery({
    queryKey: [EXPLAINED, "texts", score],
    queryFn: ({ signal }) => api.scoredTexts(score as number, signal).then(({ rows }) => rows),
    enabled: score !== null,
    // What was scored once does not change.
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** What there is to see an overview of, of every model. */
export function useSources() {
  return useQuery({
    queryKey: [EXPLAINED, "sources"],
    queryFn: ({ signal }) => api.sources(signal).then(({ rows }) => rows),
    staleTime: 0,
  });
}

export function useOverview(of: Omit<Source, "components"> | null) {
  return useQuery({
    queryKey: [EXPLAINED, "overview", of],
    queryFn: ({ signal }) => api.overview(of as Omit<Source, "components">, signal),
    enabled: of !== null,
    placeholderData: keepPreviousData,
    staleTime: 0,
  });
}

export function useWordsSearch(asked: WordsSearch, wanted: boolean) {
  return useQuery({
    queryKey: [EXPLAINED, "search", asked],
    queryFn: ({ signal }) => api.searchWords(asked, signal),
    enabled: wanted,
    placeholderData: keepPreviousData,
  });
}
