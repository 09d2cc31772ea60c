import { useAutoencoders } from "../../api/autoencoders";
import { useAsked } from "../../components/asked";
import { Link } from "../../components/Link";
import { count } from "../../format/number";
import { writtenBy } from "../../url/ids";
import { AUTOENCODERS, askedWith, componentAddress } from "../../url/route";
import { architectureOf } from "../sae/shelf";

/** The autoencoders that a latent's name may mean: a site alone does not say which. */
export function ChooseAutoencoder({ id }: { id: string }) {
  const shelf = useAutoencoders();
  const asked = useAsked();
  const site = writtenBy(id);
  const index = Number(id.split(".")[3]);
  const rows = (shelf.data ?? []).filter((row) => row.fits && row.writes === site && index < row.latents);
  if (!shelf.data) return null;
  return (
    <section
      aria-label="Autoencoders of this site"
      className="rounded-md border border-dashed border-line-strong bg-panel px-4 py-4"
    >
      <p className="text-xs text-ink-2">
        {rows.length > 0 ? (
          `These have a latent ${index} of ${site}:`
        ) : (
          <>
            No autoencoder here has a latent {index} of {site}.{" "}
            <Link href={AUTOENCODERS} className="underline hover:text-ink">
              Train or add one
            </Link>
            .
          </>
        )}
      </p>
      <ul className="mt-1.5 flex flex-col gap-1">
        {rows.map((row) => (
          <li key={row.name}>
            <Link
              href={componentAddress(id, askedWith(asked, [row.name]))}
              className="font-mono text-xs underline decoration-line-strong underline-offset-2 hover:decoration-current"
            >
              {row.name}
            </Link>{" "}
            <span className="text-2xs text-ink-3">
              {architectureOf(row)}, {count(row.latents)} latents
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
