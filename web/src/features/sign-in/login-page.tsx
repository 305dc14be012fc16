import { useQueryClient } from "@tanstack/react-query";
import { Link, useRouter, useSearch } from "@tanstack/react-router";
import { useState } from "react";

import type { components } from "@/api/schema";
import { beginSession } from "@/api/session";
import { useDocumentTitle } from "@/components/page";
import { classes } from "@/lib/classes";
import { paths, safeReturn } from "@/lib/paths";
import { CodeForm } from "./code-form";
import { SignInForm } from "./sign-in-form";
import { SignUpForm } from "./sign-up-form";

type Login = components["schemas"]["LoginAnswer"];
type Challenge = components["schemas"]["ChallengeAnswer"];

/** Signing in, in one step or two, and signing up. */
export function LoginPage() {
  const search = useSearch({ from: `/entry${paths.login}` });
  const router = useRouter();
  const queries = useQueryClient();
  const [challenge, setChallenge] = useState<Challenge>();
  const isSignUp = search.view === "sign-up";
  useDocumentTitle(isSignUp ? "Sign up" : "Sign in");

  const enter = (login: Login) => {
    beginSession(queries, login);
    router.history.push(safeReturn(search.return));
  };

  if (challenge !== undefined) {
    return <CodeForm challenge={challenge} onSignedIn={enter} onBack={() => setChallenge(undefined)} />;
  }
  return (
    <>
      <h1 className="text-center text-xl font-semibold tracking-tight">
        {isSignUp ? "Create your account" : "Sign in to IPLoop"}
      </h1>
      <nav aria-label="Sign in or sign up" className="mt-5 mb-6 grid grid-cols-2 gap-1 rounded-lg bg-raised p-1">
        <Tab name="Sign in" isCurrent={!isSignUp} view={undefined} />
        <Tab name="Sign up" isCurrent={isSignUp} view="sign-up" />
      </nav>
      {isSignUp ? <SignUpForm onSignedIn={enter} /> : <SignInForm onSignedIn={enter} onChallenge={setChallenge} />}
    </>
  );
}

function Tab({ name, isCurrent, view }: { name: string; isCurrent: boolean; view: "sign-up" | undefined }) {
  return (
    <Link
      to={paths.login}
      search={(before) => ({ ...before, view })}
      aria-current={isCurrent ? "page" : undefined}
      className={classes(
        "rounded-md py-1.5 text-center text-sm font-medium",
        isCurrent ? "bg-surface text-ink shadow-card" : "text-soft hover:text-ink",
      )}
    >
      {name}
    </Link>
  );
}
