import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type RefObject, useState } from "react";
import { SHELF } from "../../api/autoencoders";
import { api } from "../../api/client";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Field, INPUT } from "./Field";

/** Takes an autoencoder of a folder or of the hub onto the shelf. */
export function AddPanel({
  field,
  onAdded,
}: {
  field: RefObject<HTMLInputElement | null>;
  onAdded: (name: string) => void;
}) {
  const client = useQueryClient();
  const [reference, setReference] = useState("");
  const [site, setSite] = useState("");
  const [name, setName] = useState("");
  const add = useMutation({
    mutationFn: () =>
      api.addAutoencoder({
        reference: reference.trim(),
        name: name.trim() || null,
        site: site.trim() || null,
        writes: null,
      }),
    onSuccess: (added) => {
      setReference("");
      setSite("");
      setName("");
      onAdded(added.name);
      return client.invalidateQueries({ queryKey: [SHELF] });
    },
  });
  const empty = reference.trim() === "";
  return (
    <Panel title="Add one">
      <form
        className="flex flex-col gap-2 px-3 pb-3"
        onSubmit={(event) => {
          event.preventDefault();
          if (!empty && !add.isPending) add.mutate();
        }}
      >
        <Field
          label="Folder or repository"
          help="of SAELens, sparsify, dictionary_learning or OpenAI’s format"
        >
          <input
            ref={field}
            value={reference}
            placeholder="EleutherAI/sae-SmolLM2-135M-64x/layers.10.mlp"
            spellCheck={false}
            autoCapitalize="off"
            onChange={(event) => setReference(event.target.value)}
            className={`${INPUT} font-mono`}
          />
        </Field>
        <div className="grid grid-cols-2 gap-2">
          <Field label="Site" help="if its files do not say">
            <input
              value={site}
              placeholder="mlp_out.10"
              spellCheck={false}
              autoCapitalize="off"
              onChange={(event) => setSite(event.target.value)}
              className={`${INPUT} font-mono`}
            />
          </Field>
          <Field label="Name" help="on the shelf">
            <input
              value={name}
              placeholder="made of the reference"
              spellCheck={false}
              autoCapitalize="off"
              onChange={(event) => setName(event.target.value)}
              className={`${INPUT} font-mono placeholder:font-sans`}
            />
          </Field>
        </div>
        <div className="flex items-center gap-2">
          <Button
            type="submit"
            look={empty ? "plain" : "strong"}
            disabled={empty || add.isPending}
            title={empty ? "Name a folder or a repository first" : "Reads it, and keeps a copy on the shelf"}
          >
            {add.isPending ? "Adding…" : "Add"}
          </Button>
          {add.isPending && (
            <span role="status" className="text-xs text-ink-2">
              A large one from the hub takes a while.
            </span>
          )}
        </div>
        {add.error && <Notice error={add.error} />}
      </form>
    </Panel>
  );
}
