import { beforeEach, describe, expect, test } from "vitest";
import { draftKey, forgetPerson, takeToken } from "./sign-in";

describe("a sign-in link", () => {
  const shown: string[] = [];
  const history = {
    replaceState: (_data: unknown, _title: string, url?: string | URL | null) => {
      shown.push(String(url));
    },
  };
  const at = (pathname: string, hash = "") => ({ pathname, hash });

  beforeEach(() => {
    sessionStorage.clear();
    shown.length = 0;
  });

  test("gives its token to this tab and leaves the address bar at once", () => {
    const token = takeToken(at("/sign-in", "#token=ey.a-b_c.d"), history, sessionStorage);

    expect(token).toBe("ey.a-b_c.d");
    expect(shown).toEqual(["/"]);
    expect(takeToken(at("/replay"), history, sessionStorage)).toBe("ey.a-b_c.d");
  });

  test("without a token signs nobody in", () => {
    expect(takeToken(at("/sign-in", "#other=1"), history, sessionStorage)).toBeNull();
    expect(shown).toEqual(["/sign-in"]);
  });

  test("is looked for nowhere else", () => {
    expect(takeToken(at("/", "#token=x"), history, sessionStorage)).toBeNull();
    expect(shown).toEqual([]);
  });

  test("is undone with everything that was written here", () => {
    takeToken(at("/sign-in", "#token=x"), history, sessionStorage);
    sessionStorage.setItem(draftKey("t1"), "half a thought");
    sessionStorage.setItem("another program's", "kept");

    forgetPerson(sessionStorage);

    expect(Object.keys(sessionStorage)).toEqual(["another program's"]);
  });
});
