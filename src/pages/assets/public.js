// Comfort only: every page works without it.
const put = async text => {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* no permission, or plain http */ }
  const field = document.querySelector('.linkbox input');
  if (!field) return false;
  field.focus(); field.select();
  return document.execCommand('copy');
};

document.addEventListener('click', async event => {
  const button = event.target.closest('[data-copy], [data-share]');
  if (!button) return;
  if ('share' in button.dataset) {
    navigator.share({ url: button.dataset.share, text: button.dataset.text }).catch(() => {});
    return;
  }
  if (!await put(button.dataset.copy)) return;
  const label = button.querySelector('[data-label]');
  label.textContent = button.dataset.done;
  document.querySelector('#said').textContent = button.dataset.done;
  clearTimeout(button.timer);
  button.timer = setTimeout(() => { label.textContent = label.dataset.label; }, 2500);
});

if (navigator.share) for (const button of document.querySelectorAll('[data-share]')) button.hidden = false;

// A form is sent once, however often the button is pressed; coming back opens it again.
for (const form of document.forms) {
  let sent = false;
  form.addEventListener('submit', event => { if (sent) event.preventDefault(); sent = true; });
  addEventListener('pageshow', () => { sent = false; });
}
