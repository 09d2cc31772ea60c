import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api, Failure } from "../../api/client";
import type { Answer, Filters, Question } from "../../api/types";
import type { Compared } from "../../url/view";

export interface Shown {
  question: Question;
  answer: Answer;
}

export const answerTo = (question: Question | null) => ({
  queryKey: ["debug", question],
  queryFn: async ({ signal }: { signal: AbortSignal }): Promise<Shown> => {
    const asked = question as Question;
    return { question: asked, answer: await api.debug(asked, signal) };
  },
});

/**
 * The answer to `question`, or the last one while the next is on its way.
 *
 * A new question aborts the request of the one before it: Query cancels what nobody waits for any more.
 */
export function useAnswer(question: Question | null) {
  const client = useQueryClient();
  const query = useQuery({ ...answerTo(question), enabled: question !== null });
  const [shown, setShown] = useState<Shown | null>(null);
  if (query.data && query.data !== shown) setShown(query.data);

  const unreachable = query.error instanceof Failure && query.error.code === "unreachable";
  useEffect(() => {
    // The server went away after the page had loaded: let the status query notice, and watch for its return.
    if (unreachable) client.invalidateQueries({ queryKey: ["status"] });
  }, [unreachable, client]);

  return {
    shown: query.data ?? shown,
    stale: query.data === undefined,
    working: query.isFetching,
    error: query.error,
    retry: query.refetch,
  };
}

/** The rows of a filtered table; `stale` while they belong to the filters before. */
export function useNodes(shown: Shown | null, filters: Filters | null) {
  const query = useQuery({
    queryKey: ["nodes", shown?.question, filters],
    queryFn: ({ signal }) => api.nodes((shown as Shown).question, filters as Filters, signal),
    enabled: shown !== null && filters !== null,
    placeholderData: keepPreviousData,
  });
  if (!filters) return { nodes: shown?.answer.nodes, stale: false, error: null };
  return {
    nodes: query.data?.nodes ?? (query.error ? [] : shown?.answer.nodes),
    stale: query.data === undefined || query.isPlaceholderData,
    error: query.error,
  };
}

/** The question asked twice; null while it is not asked, or not yet answered for the first time. */
export function useCompared(shown: Shown | null, filters: Filters, against: Compared | null) {
  const query = useQuery({
    queryKey: ["compare", shown?.question, filters, against],
    queryFn: async ({ signal }) => ({
      against: against as Compared,
      ...(await api.compare((shown as Shown).question, filters, against as Compared, signal)),
    }),
    enabled: shown !== null && against !== null,
    placeholderData: keepPreviousData,
  });
  // What was compared with another thing is of no use under these headings.
  const data = against !== null && query.data?.against === against ? query.data : null;
  return {
    data,
    stale: query.isPlaceholderData,
    working: query.isFetching,
    error: against === null ? null : query.error,
    retry: query.refetch,
  };
}

export function useNode(question: Question, id: string) {
  return useQuery({
    queryKey: ["node", question, id],
    queryFn: ({ signal }) => api.node(question, id, signal),
  });
}

export function useLens(shown: Shown | null, wanted: boolean) {
  return useQuery({
    queryKey: ["lens", shown?.question],
    queryFn: ({ signal }) => api.lens((shown as Shown).question, signal),
    enabled: wanted && shown !== null,
  });
}

export const tokenCheck = (text: string) => ({
  queryKey: ["token", text],
  queryFn: ({ signal }: { signal: AbortSignal }) => api.token(text, signal),
});

export function questionKey(question: Question): string {
  return JSON.stringify(question);
}
