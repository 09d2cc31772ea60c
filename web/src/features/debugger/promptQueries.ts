import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { api } from "../../api/client";
import type { Question } from "../../api/types";

/** Both prompts as tokens, and how they pair by themselves. */
export function useAlignment(prompt: string, second: string | null, bos: boolean) {
  return useQuery({
    queryKey: ["align", prompt, second, bos],
    queryFn: ({ signal }) => api.align(prompt, second as string, bos, signal),
    enabled: second !== null && second !== "" && prompt !== "",
    placeholderData: keepPreviousData,
  });
}

/** The attention of one head, under the question's edits. */
export function usePattern(question: Question, head: string | null) {
  return useQuery({
    queryKey: ["pattern", question, head],
    queryFn: ({ signal }) => api.pattern(question, head as string, signal),
    enabled: head !== null,
    placeholderData: keepPreviousData,
  });
}
