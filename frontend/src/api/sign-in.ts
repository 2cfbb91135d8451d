/** Where this tab keeps who it is. Each tab can be somebody else. */

const PREFIX = "smart-support.";
const KEY = `${PREFIX}token`;

/**
 * Take the token out of a sign-in link (`/sign-in#token=…`) and out of the address bar.
 *
 * A fragment never reaches a server or a log; removing it keeps it out of the history too.
 */
export function takeToken(
  location: Pick<Location, "pathname" | "hash">,
  history: Pick<History, "replaceState">,
  storage: Storage,
): string | null {
  if (location.pathname === "/sign-in") {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    history.replaceState(null, "", token ? "/" : "/sign-in");
    if (token) storage.setItem(KEY, token);
  }
  return storage.getItem(KEY);
}

/** Forget who this tab is, and every draft that was written here. */
export function forgetPerson(storage: Storage): void {
  for (const key of Object.keys(storage)) if (key.startsWith(PREFIX)) storage.removeItem(key);
}

/** A draft of a message survives a reload of the page. `threadId` is null before there is a thread. */
export function draftKey(threadId: string | null): string {
  return `${PREFIX}draft.${threadId ?? "new"}`;
}
