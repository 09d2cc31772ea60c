import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useDebounced } from "../components/useDebounced";
import { api, Failure } from "./client";

/** What the server is and what it opens with. Asks again every two seconds while the server is away. */
export function useStatus() {
  const client = useQueryClient();
  const status = useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => api.status(signal),
    refetchInterval: ({ state }) => (state.error || state.fetchFailureCount ? 2000 : false),
  });
  const away = status.error instanceof Failure && status.error.code === "unreachable";
  const [wasAway, setWasAway] = useState(false);
  if (away && !wasAway) setWasAway(true);
  useEffect(() => {
    if (!wasAway || away) return;
    setWasAway(false);
    client.invalidateQueries({ predicate: ({ state }) => state.status === "error" });
  }, [wasAway, away, client]);
  return status;
}

/** The tokens of a text that is being typed. */
export function useTokens(text: string, bos: boolean, wanted: boolean) {
  const settled = useDebounced(text, 100);
  return useQuery({
    queryKey: ["tokens", settled, bos],
    queryFn: ({ signal }) => api.tokens(settled, bos, signal),
    enabled: wanted,
    placeholderData: keepPreviousData,
  });
}
