"""Recognise auto-replies: vacation notices (RFC 3834 and unmarked ones), ticket systems, challenge/response.

They change nothing. Bounces are looked for first, so that none is taken for an auto-reply.

Limitations: Unmarked notices are recognised by phrases in English, Dutch, German, French, Spanish, Italian and some
Portuguese; in other languages they are ordinary mail, which changes nothing either.
"""

from __future__ import annotations

from bounce.parsers.evidence import is_marked_auto_reply
from bounce.parsers.free_text import FreeTextBounce, address_of
from bounce.parsers.mime import Mail, decode_words
from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind
from bounce.pattern import any_of

MAX_LINES = 60  # longer unmarked mail is taken for a person's

_SUBJECT = any_of(
    r"(?:re|aw|antw|r)\s{0,2}:\s{0,2}(?:automatic reply|automatische antwort|automatisch antwoord)",
    r"auto(?:mat(?:ic|ed|isch(?:e|es)?|isk|ique|ica))?[- ]?(?:reply|response|respons|antwort|svar|antwoord|risposta)\b",
    r"autoreply|auto:",
    r"automatisch antwoord|automatische (?:antwort|afwezigheid|beantwoording)|autosvar",
    r"abwesenheit|ich bin (?:nicht|derzeit|im)|urlaub|nicht im (?:b.ro|haus)",
    r"afwezig|niet aanwezig|buiten kantoor|vakantie",
    r"r.ponse automatique|absence\b|absente?\b|en cong",
    r"respuesta autom.tica|fuera de la oficina|ausente|ausencia|resposta autom.tica",
    r"risposta automatica|fuori (?:sede|ufficio)|assente",
    r"out of (?:the )?office|ooo\b|away (?:from|until)|on vacation|vacation",
    r"on (?:annual |maternity |paternity )?leave",
)
_WORDS = any_of(
    r"out of (?:the |my )?office",
    r"(?:am|be|currently|is) (?:away )?on (?:annual |maternity |parental |sick )?(?:leave|vacation|holiday)",
    r"away (?:from (?:my|the) (?:desk|office)|until)",
    r"(?:limited|no|without) access to (?:my )?e-?mails?",
    r"(?:will|shall) (?:reply|respond|answer|get back).{0,40}(?:(?:up)?on my return|when i return|as soon as)",
    r"no longer (?:work|with|employed)",
    r"this is an auto(?:matic|mated)(?:ally generated)? (?:reply|response|answer)",
    r"(?:we have|we've|we) (?:successfully )?received your (?:e-?mail|message|request|enquiry|inquiry)",
    r"nicht im (?:b.ro|hause?)",
    r"(?:bin|sind|ist) (?:bis|vom|ab|derzeit|zur zeit|momentan|im|in) .{0,40}"
    r"(?:urlaub|abwesend|nicht erreichbar|elternzeit)",
    r"abwesend\b|nicht (?:erreichbar|da)\b",
    r"wieder (?:erreichbar|im b.ro|f.r sie da)",
    r"keinen zugriff auf (?:meine )?e-?mails?",
    r"automatisch (?:erstellte|generierte|gegenereerd)|dies ist eine automatische",
    r"ihre (?:anfrage|nachricht|e-?mail) (?:ist (?:bei uns )?eingegangen|haben wir erhalten)",
    r"(?:ben|is) (?:ik )?(?:momenteel |tot |van |op dit moment )?.{0,30}"
    r"(?:afwezig|niet aanwezig|op vakantie|met verlof|buiten kantoor)",
    r"niet op kantoor|op vakantie|terug op kantoor|dit is een automatisch",
    r"(?:wij|we) hebben (?:uw|je) (?:e-?mail|bericht|vraag) .{0,20}ontvangen",
    r"(?:je suis|suis actuellement|serai) .{0,30}(?:absente?|en cong.s?|en vacances|en d.placement)",
    r"absente? (?:du bureau|jusqu)|de retour (?:le|au) (?:bureau|\d)",
    r"ceci est une r.ponse automatique|nous avons bien re.u votre",
    r"(?:estoy|estar.|me encuentro|me encontrar.) .{0,30}"
    r"(?:fuera de la oficina|de vacaciones|ausente|de viaje|de baja)",
    r"fuera de la oficina|respuesta autom.tica|hemos recibido su (?:mensaje|correo|solicitud|consulta)",
    r"sar. assente|sono (?:assente|fuori|in ferie)|fuori ufficio",
    whole_words=True,
)
_CHALLENGE = any_of(
    r"(?:follow|click|visit|open|use|press|klick|volg|cliquez|suivez|haga clic|clicca) "
    r"[^.]{0,60}(?:link|https?:|here|button|lien|enlace|hier|ici|aqu.|qui)\b.{0,200}"
    r"(?:in-?box|deliver|let (?:in|through)|allow|approv|accept|shown|reach(?:es)? me"
    r"|zugestellt|bezorgd|remis|entregad|consegnat)",
    r"(?:ask|request|apply|sign up|register)\b.{0,60}(?:on|in|to|onto|added to) (?:my|our|the|this) "
    r"(?:\w{1,12} )?(?:list|friends|contacts|allow ?list|white ?list|guest ?list|address book)",
    r"(?:your|this|the) (?:e-?mail|message|mail|letter) (?:waits|is waiting|will wait|is (?:being )?held|is kept)"
    r".{0,200}(?:confirm|click|follow|reply|answer|link|https?:|verify)",
    r"(?:i|we) (?:only|do not|don't) (?:accept|take|read) (?:e-?mail|mail|messages?) from "
    r".{0,60}(?:known|people|senders|know).{0,200}(?:confirm|click|follow|reply|link|https?:)",
    r"prove (?:that )?you are (?:a |not a )?(?:human|person|robot|real)",
    r"challenge[-/ ]response|sender verification (?:required|request)",
    r"confirm (?:that )?you are (?:a )?(?:human|real)",
    r"(?:click|follow|visit|reply|respond|confirm).{0,120}(?:so that|in order|for) (?:your|the|this) "
    r"(?:message|e-?mail) (?:to |will |can )?(?:be )?(?:deliver|release|accept)",
    r"(?:message|mail) (?:is|has been|was|will be) (?:being )?(?:held|quarantined|queued|on hold)\b.{0,200}"
    r"(?:confirm|verify|verification|authenticat|prove|click|reply)",
    r"spam ?arrest|boxbe|spamblocker|tmda\b|qconfirm|mailblocks|sendio|bitbounce|choicemail|knowspam",
    r"ihre (?:e-?mail|nachricht) (?:wird|wurde) .{0,60}zur.ckgehalten.{0,160}best.tig",
    r"bevestig .{0,80}(?:bericht|e-?mail) (?:wordt|af)",
    r"confirmez .{0,80}(?:message|courriel) (?:soit|sera) (?:remis|d.livr|distribu)",
    r"confirme .{0,80}mensaje (?:sea|ser.) entregado",
    whole_words=True,
)


def is_challenge(mail: Mail, text: FreeTextBounce) -> bool:
    """Return whether ``mail`` asks the sender to do something before the message is delivered."""
    words = " ".join(text.lines[:MAX_LINES])[:6000].lower()
    return bool(_CHALLENGE.search(words) or _CHALLENGE.search(decode_words(mail.fields.get("subject") or "").lower()))


def read_challenge(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Return the challenge in ``mail``, or None."""
    return _report(mail, ReportKind.CHALLENGE, "challenge") if is_challenge(mail, text) else None


def read_auto_reply(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Return ``mail`` as an auto-reply, or None."""
    words = "\n".join(text.lines[:MAX_LINES])[:6000].lower()
    subject = decode_words(mail.fields.get("subject") or "").lower().strip(" \t[(*!-")
    if is_challenge(mail, text):
        return _report(mail, ReportKind.CHALLENGE, "challenge")
    if is_marked_auto_reply(mail):
        return _report(mail, ReportKind.AUTO_REPLY, "rfc3834")
    if _SUBJECT.match(subject) or (len(text.lines) <= MAX_LINES and _WORDS.search(words)):
        return _report(mail, ReportKind.AUTO_REPLY, "vacation")
    return None


def _report(mail: Mail, kind: ReportKind, form: str) -> Report:
    value = mail.fields.get("from") or ""
    address = address_of(value.rpartition("<")[2].partition(">")[0] if "<" in value else value.partition("(")[0])
    return Report(kind, form, (ReportedRecipient(ReportedAction.REPLIED, address, address),) if address else ())
