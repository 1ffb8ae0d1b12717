// Asks the server, with the key that this tab has; without one the form for it shows.

const KEY = "touchstone-key";

async function ask(path, body) {
  const answer = await answerTo(path, body);
  return answer.json();
}

async function answerTo(path, body) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const answer = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  const error = new Error((await answer.json()).error.message);
  error.status = answer.status;
  throw error;
}

function askForKey() {
  const wrong = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  $("key_note").textContent = wrong ? "That key does not open this server." : "It is kept in this tab alone and forgotten when the tab closes.";
  $("key_note").className = wrong ? "bad" : "soft";
  $("key_form").hidden = false;
  $("content").hidden = true;
  setState("locked", "soft");
  $("key").focus();
}

function setState(text, kind) {
  $("state").textContent = text;
  $("state").className = `pill ${kind}`;
}

function onKeyGiven(goOn) {
  $("key_form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, $("key").value);
    $("key").value = "";
    $("key_form").hidden = true;
    goOn();
  });
}
