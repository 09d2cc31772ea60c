import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type RefObject, useState } from "react";
import { SHELF } from "../../api/autoencoders";
import { api } from "../../api/client";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Field } from "./Field";

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
          field={field}
          label="Folder or repository"
          help="of SAELens, sparsify, dictionary_learning or OpenAI’s format"
          value={reference}
          placeholder="EleutherAI/sae-SmolLM2-135M-64x/layers.10.mlp"
          onChange={(event) => setReference(event.target.value)}
          className="font-mono"
        />
        <div className="grid grid-cols-2 gap-2">
          <Field
            label="Site"
            help="if its files do not say"
            value={site}
            placeholder="mlp_out.10"
            onChange={(event) => setSite(event.target.value)}
            className="font-mono"
          />
          <Field
            label="Name"
            help="on the shelf"
            value={name}
            placeholder="made of the reference"
            onChange={(event) => setName(event.target.value)}
            className="font-mono placeholder:font-sans"
          />
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
