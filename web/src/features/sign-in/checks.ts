import type { FieldErrors, Values } from "@/components/ui/form";

/** What the API demands of a password at least; it also refuses the most common ones. */
export const MIN_PASSWORD = 8;
const MIN_NAME = 2;

/** The first complaint of each field, the others left out. */
function complaints(of: Record<string, string | undefined>): FieldErrors {
  const wrong = Object.entries(of).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(wrong);
}

function email(value = ""): string | undefined {
  if (value.trim() === "") return "Enter your email address";
  // The API knows exactly; this one only catches what was forgotten.
  return /^\S+@\S+$/.test(value.trim()) ? undefined : "This is not an email address";
}

function name(value = "", which: string): string | undefined {
  if (value.trim() === "") return `Enter your ${which}`;
  return value.trim().length < MIN_NAME ? `At least ${MIN_NAME} characters` : undefined;
}

function newPassword(value = ""): string | undefined {
  if (value === "") return "Choose a password";
  return [...value].length < MIN_PASSWORD ? `At least ${MIN_PASSWORD} characters` : undefined;
}

function repeated({ password = "", confirm = "" }: Values): string | undefined {
  return confirm === password ? undefined : "The passwords differ";
}

/** Of signing in. */
export function checkSignIn(values: Values): FieldErrors {
  return complaints({
    email: email(values["email"]),
    password: values["password"] ? undefined : "Enter your password",
  });
}

/** Of a new account. */
export function checkSignUp(values: Values): FieldErrors {
  return complaints({
    firstName: name(values["firstName"], "first name"),
    lastName: name(values["lastName"], "last name"),
    email: email(values["email"]),
    password: newPassword(values["password"]),
    confirm: repeated(values),
  });
}

/** Of asking for a new password. */
export function checkEmail(values: Values): FieldErrors {
  return complaints({ email: email(values["email"]) });
}

/** Of a new password. */
export function checkNewPassword(values: Values): FieldErrors {
  return complaints({ password: newPassword(values["password"]), confirm: repeated(values) });
}

/** Of the second step. */
export function checkCode(values: Values): FieldErrors {
  return complaints({ code: values["code"]?.trim() ? undefined : "Enter the code" });
}
