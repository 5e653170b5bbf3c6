"""The scripts a shop starts with: for each reason a general one, and one for each type of customer.

They are content, written in the customers' language, and every one of them can be changed or deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from membership.members.models import CustomerType

from .models import CallReason

_R, _C = CallReason, CustomerType


@dataclass(frozen=True)
class Starter:
    """A script as the shop gets it."""

    reason: CallReason
    customer_type: CustomerType | None
    title: str
    body: str
    voice: str = ""


STARTERS = (
    Starter(
        _R.DELIVERED, None, "到货回访",
        "您的「{product}」应该已经收到了，东西都齐吗？用着还顺手吗？\n"
        "（听完再说，有问题先解决问题）\n"
        "我们有个老客群，平时发使用技巧，上新和活动群里先知道，进群还有一份小礼物。我把您的专属链接发过去，您看方便吗？",
    ),
    Starter(
        _R.DELIVERED, _C.RATIONAL, "到货回访 · 看重事实的客户",
        "想跟您核对一下「{product}」：数量对不对，包装有没有破损？\n"
        "退换规则是签收后七天内、不影响二次销售就能办，运费怎么算我现在就能告诉您。\n"
        "群里只发三样：使用说明、到货通知、会员价，不闲聊。链接给您，看过再决定就行。",
    ),
    Starter(
        _R.DELIVERED, _C.IRRITABLE, "到货回访 · 性子急的客户",
        "就耽误您半分钟：「{product}」收到没问题吧？\n"
        "（有火先让客户说完，不打断，不解释）\n"
        "我听明白了，这件事我来跟，今天之内给您答复。\n"
        "没别的事。链接我发您，想进群领礼物随时点，不想进也没关系。",
    ),
    Starter(
        _R.DELIVERED, _C.HAGGLER, "到货回访 · 爱比价的客户",
        "「{product}」到了吧？您这单买得划算，群里老客下次还有更低的会员价。\n"
        "单独降价我这边做不了主，不过群里的券是真能用的，进群先领一份礼。\n"
        "链接是您个人的，领过就算数，我发给您。",
    ),
    Starter(
        _R.DELIVERED, _C.PRESSING, "到货回访 · 催得紧的客户",
        "「{product}」已经签收，我来确认一下您这边都好。\n"
        "有需要处理的我马上登记，现在就能告诉您下一步是什么、几点前有结果。\n"
        "进群之后有事直接在群里说，比打电话快。链接这就发您。",
    ),
    Starter(
        _R.DELIVERED, _C.NO_SAYER, "到货回访 · 习惯先拒绝的客户",
        "不推销，就问一句：「{product}」还满意吗？\n"
        "（客户说“不用”时）好的，不打扰您。\n"
        "给您留个链接，里面有这款的使用小技巧和一份礼物，哪天想看了再点，三十天内都有效。",
    ),
    Starter(
        _R.REFUSED_PARCEL, None, "拒收回访",
        "快递说您的「{product}」没有签收，我来了解一下是怎么回事：是没接到电话、不想要了，还是包装有问题？\n"
        "还想要的话，我安排重新派送；不要了，我现在就帮您走退款。",
    ),
    Starter(
        _R.REFUSED_PARCEL, _C.RATIONAL, "拒收回访 · 看重事实的客户",
        "系统显示「{product}」派送未签收，包裹正在退回。\n"
        "两个办法：一、重新派送，您给个方便收货的时间；二、退款，仓库收到后原路退回。您选哪个？",
    ),
    Starter(
        _R.REFUSED_PARCEL, _C.IRRITABLE, "拒收回访 · 性子急的客户",
        "「{product}」没能顺利送到您手上，先跟您说声抱歉。\n"
        "（让客户把话说完，记下原话）\n"
        "您说怎么办合适，我照着办，今天就给您回话，不用您再打来。",
    ),
    Starter(
        _R.REFUSED_PARCEL, _C.HAGGLER, "拒收回访 · 爱比价的客户",
        "「{product}」您没签收，是觉得价格不合适吗？\n"
        "这单的价我改不了，不过重新收货的话，进群领的券下一单就能用，算下来是省的。\n"
        "您要是决定不要了，我也马上给您退款。",
    ),
    Starter(
        _R.REFUSED_PARCEL, _C.PRESSING, "拒收回访 · 催得紧的客户",
        "「{product}」现在在退回路上。要的话我立刻联系快递拦截改派，最快明天到；\n"
        "不要的话退款单我现在就提，您手机上会收到通知。您定一个，我马上办。",
    ),
    Starter(
        _R.REFUSED_PARCEL, _C.NO_SAYER, "拒收回访 · 习惯先拒绝的客户",
        "打扰您，只确认一件事：「{product}」是不想要了，还是当时不方便收？\n"
        "不想要完全没关系，我帮您退；不方便的话，什么时候在家，我让快递再送一次。",
    ),
    Starter(
        _R.WRONG_ADDRESS, None, "地址核对",
        "您的「{product}」快递说地址送不到，我跟您核对一下：收货人、电话、门牌号。\n"
        "（逐项念，请客户确认）\n"
        "我现在就改好，明天重新派送，快递到之前会先给您打电话。",
    ),
    Starter(
        _R.WRONG_ADDRESS, _C.RATIONAL, "地址核对 · 看重事实的客户",
        "「{product}」派送失败，原因是地址不完整。我念一遍现在登记的，您告诉我哪里要改。\n"
        "改完预计明天派送，不收额外运费。",
    ),
    Starter(
        _R.WRONG_ADDRESS, _C.IRRITABLE, "地址核对 · 性子急的客户",
        "「{product}」卡在地址上了，让您久等。\n"
        "您说新地址，我记，马上让快递改；改好我给您回个信，不用您盯着。",
    ),
    Starter(
        _R.WRONG_ADDRESS, _C.HAGGLER, "地址核对 · 爱比价的客户",
        "「{product}」要改个地址才能送到，改地址不另收钱。\n"
        "您报一下详细门牌，我这就改好，明天就能送。",
    ),
    Starter(
        _R.WRONG_ADDRESS, _C.PRESSING, "地址核对 · 催得紧的客户",
        "「{product}」就差一个门牌号，您现在告诉我，我当场改好，\n"
        "今天就能转给派送站，我把进度发给您。",
    ),
    Starter(
        _R.WRONG_ADDRESS, _C.NO_SAYER, "地址核对 · 习惯先拒绝的客户",
        "只核对收货地址，不会问别的：「{product}」送到哪里您最方便？\n"
        "不想在电话里说也可以，您直接在订单里改好，我帮您催派送。",
    ),
    Starter(
        _R.FOLLOW_UP, None, "再次回访",
        "上次您提到的事，我来跟您说一下结果。\n"
        "（先说结果，再问还有没有别的）\n"
        "「{product}」用到现在感觉怎么样？需要的话，群里有老客分享的用法，我把链接发您。",
    ),
    Starter(
        _R.FOLLOW_UP, _C.RATIONAL, "再次回访 · 看重事实的客户",
        "上次的问题有进展了：（说清做了什么、结果如何、有没有凭据）。\n"
        "还有哪一点没说清楚，您问，我答；答不上来的，我记下来，明天中午前给您答复。",
    ),
    Starter(
        _R.FOLLOW_UP, _C.IRRITABLE, "再次回访 · 性子急的客户",
        "上次的事办好了：（一句话说结果）。\n"
        "让您费心了。您看这样处理可以吗？还有不满意的地方，现在跟我说就行。",
    ),
    Starter(
        _R.FOLLOW_UP, _C.HAGGLER, "再次回访 · 爱比价的客户",
        "上次您问的优惠，我替您留意了：群里老客现在有券，您账上的等级也能用会员价。\n"
        "两样能不能叠加，下单前页面会写清楚，以页面为准。链接我发您。",
    ),
    Starter(
        _R.FOLLOW_UP, _C.PRESSING, "再次回访 · 催得紧的客户",
        "您催的事有结果了：（先说结果和时间）。\n"
        "还差的一步我写在这里，几点前完成、完成后怎么通知您，都给您说准。",
    ),
    Starter(
        _R.FOLLOW_UP, _C.NO_SAYER, "再次回访 · 习惯先拒绝的客户",
        "上次没聊完，我就补一句：（说一件对客户有用的事）。\n"
        "不用您做什么。以后有合适的，您愿意的话我再告诉您；不愿意，我就不再打来。",
    ),
)  # fmt: skip
